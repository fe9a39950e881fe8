"""Distributions, with a batch or without."""

from collections.abc import Callable
from functools import partial

import torch
from pyro.distributions import TorchDistribution

from pyro_exact.autoregressive import (
    Autoregressive,
)
from pyro_exact.distributions import (
    ClassNormal,
    Flow,
    FlowDequantizer,
    FlowPosterior,
    IndependentSites,
    InverseAutoregressive,
    LowRankNormal,
    Mixture,
    NormalMixture,
    StandardNormal,
    StudentNoise,
    Subset,
    UniformBox,
    UniformDequantizer,
)
from pyro_exact.flows import (
    idf,
    planar,
)
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
)
from pyro_exact.nn import (
    MaskedConvNet,
)
from pyro_exact.transforms import (
    Affine,
)
from registry.autoregressive import net
from registry.layers import small_dequantizer, stack
from registry.models import mixed


def flow(context_dim: int | None = None) -> Flow:
    """A flow over vectors of 3 numbers that is not the identity."""
    made = Flow(StandardNormal(3), stack(context_dim).inv)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def vae_posterior(flows: bool = True) -> FlowPosterior:
    """A posterior of 2 numbers given 6 features, with a flow or without."""
    made = FlowPosterior(6, 2, planar(2, 3, context_dim=6) if flows else None)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def iaf_step(*batch: int) -> InverseAutoregressive:
    """One of maps (2, 2, 3) that is not near the identity."""
    net = MaskedConvNet(2, Affine.num_params, width=4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    context, mean = torch.randn(*batch, 2, 3, 4), torch.randn(*batch, 2, 2, 3)
    return InverseAutoregressive(mean, mean.exp(), partial(net, context=context), Affine())


DISTRIBUTIONS: dict[str, Callable[[], TorchDistribution]] = {
    "DiscreteFlow": lambda: idf((1, 4, 4), 4, scales=2, steps=2, width=4, depth=1)(),
    "Autoregressive": lambda: Autoregressive(net("NADE image")),
    "Autoregressive conditional": lambda: Autoregressive(
        net("MADE conditional"), torch.randn(3, 2)
    ),
    "Autoregressive conditional ensemble": lambda: Autoregressive(
        net("MADE conditional ensemble"), torch.randn(3, 2)
    ),
    "Autoregressive ensemble": lambda: Autoregressive(net("MADE ensemble")),
    "Autoregressive by class": lambda: Autoregressive(
        net("GatedPixelCNN conditional"), torch.eye(3)
    ),
    "Autoregressive gaussian": lambda: Autoregressive(net("MADE gaussian")),
    "Autoregressive whole pixels": lambda: Autoregressive(net("PixelCNNpp")),
    "Flow": lambda: flow()(),
    "Flow cold": lambda: flow()(temperature=0.5),
    "Flow conditional": lambda: flow(2).condition(torch.randn(3, 2)),
    "FlowDequantizer": lambda: FlowDequantizer(small_dequantizer(None))(
        torch.randint(4, (3, 1, 2, 4))
    ),
    "FlowPosterior": lambda: vae_posterior(flows=False)(torch.randn(3, 6)),
    "FlowPosterior planar": lambda: vae_posterior()(torch.randn(3, 6)),
    "IndependentSites": lambda: IndependentSites(
        torch.randn(3, 1, 2, 2, 1), BernoulliLikelihood(), grid_dim=3
    ),
    "IndependentSites gaussian": lambda: IndependentSites(
        torch.randn(4, 2), GaussianLikelihood(), grid_dim=1
    ),
    "InverseAutoregressive": lambda: iaf_step(2),
    "InverseAutoregressive without a batch": lambda: iaf_step(),
    "StandardNormal": lambda: StandardNormal(3)(),
    "Subset": lambda: Subset((1, 2, 3)),
    "UniformDequantizer": lambda: UniformDequantizer(
        torch.randint(4, (3, 1, 2, 2)).to(torch.get_default_dtype())
    ),
}


DISTRIBUTIONS |= {
    "ClassNormal": lambda: ClassNormal(3, 2)(),
    "ClassNormal conditional": lambda: ClassNormal(3, 2).condition(torch.eye(2)[[0, 1, 1]]),
    "Flow of classes": lambda: Flow(ClassNormal(3, 2), stack(2).inv).condition(
        torch.eye(2)[[0, 1, 1]]
    ),
    "FlowWithAngles": lambda: mixed([False, False]).flow(),
    "LowRankNormal": lambda: LowRankNormal(4, 2)(),
    "Mixture": lambda: Mixture([flow(), flow()])(),
    "Mixture conditional": lambda: Mixture([flow(2), flow(2)]).condition(torch.randn(3, 2)),
    "NormalMixture": lambda: NormalMixture(3, 2)(),
    "StudentNoise": lambda: StudentNoise(3)(),
    "UniformBox": lambda: UniformBox(2, -1.0, 3.0)(),
}
