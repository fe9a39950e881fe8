"""The same flows in four libraries, with networks of equal widths, and each library's own way to score and to sample.

Every flow is evaluated in its forward direction, which is the cheap one where one is: from data to
noise for the density of given points, from noise to data for samples and their density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from harness import DEVICE
from nflows import transforms as nflows
from nflows.distributions import StandardNormal as NflowsNormal
from nflows.flows import Flow as NflowsFlow
from pyro.distributions import (
    ConditionalTransformedDistribution,
    Distribution,
    Normal,
    TransformedDistribution,
)
from pyro.distributions import transforms as pyros
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows import MAF, NICE
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.transforms import Affine, Bijection

FLOWS = ("maf", "iaf", "affine coupling", "planar", "spline coupling")
BINS, BOUND = 8, 3.0


class Sizes(NamedTuple):
    """Sizes of a flow: number of layers, two hidden layers of ``hidden`` units, a context vector or none."""

    length: int
    batch: int
    dim: int
    hidden: int
    context: int | None

    @property
    def hidden_dims(self) -> list[int]:
        """Widths of the hidden layers."""
        return [self.hidden] * 2


class Guide(NamedTuple):
    """A flow of some library: its weights, and what they are used for; both calls take the context or `None`."""

    weights: list[Tensor]
    log_prob: Callable[[Tensor, Tensor | None], Tensor]
    rsample_and_log_prob: Callable[[Tensor | None], tuple[Tensor, Tensor]]

    @property
    def count(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.weights)


def our_layers(flow: str, sizes: Sizes) -> list[Bijection]:
    """Return our flow, which is one layer."""
    length, _, dim, _, context = sizes
    hidden = sizes.hidden_dims
    layer = {
        "maf": lambda: flows.maf(
            dim, length, hidden, context, Affine(), act_norm=False, shuffle=False
        ),
        "iaf": lambda: flows.iaf(dim, length, hidden, context, act_norm=False),
        "affine coupling": lambda: flows.couplings(
            dim, Affine(), length, hidden, context, act_norm=False, shuffle=False
        ),
        "planar": lambda: flows.planar(dim, length, context, act_norm=False),
        "spline coupling": lambda: flows.spline_coupling(
            dim, length, BINS, BOUND, hidden, context, act_norm=False, shuffle=False
        ),
    }[flow]()
    return [layer]


def pyro_layers(flow: str, sizes: Sizes) -> list[Transform]:
    """Return a flow of Pyro's layers; it has no conditional spline coupling, but an autoregressive one."""
    if "coupling" in flow and (flow, sizes.context is None) != ("spline coupling", False):
        reverse = torch.arange(sizes.dim - 1, -1, -1)
        couplings = [pyro_coupling(flow, sizes, i % 2 == 1) for i in range(sizes.length)]
        return [layer for coupling in couplings for layer in (pyros.Permute(reverse), coupling)][1:]
    return [pyro_layer(flow, sizes) for _ in range(sizes.length)]


def pyro_layer(flow: str, sizes: Sizes) -> Transform:
    """Return one of Pyro's layers that is no coupling."""
    dim, hidden, context = sizes.dim, sizes.hidden_dims, sizes.context
    if flow == "planar":
        return (
            pyros.Planar(dim)
            if context is None
            else pyros.ConditionalPlanar(Hypernet(dim, context))
        )
    if flow == "spline coupling":
        net = ConditionalAutoRegressiveNN(dim, context, hidden, [BINS, BINS, BINS - 1])
        return pyros.ConditionalSplineAutoregressive(
            dim, net, count_bins=BINS, bound=BOUND, order="quadratic"
        )
    if context is None:
        return pyros.affine_autoregressive(dim, hidden)
    return pyros.conditional_affine_autoregressive(dim, context, hidden)


def pyro_coupling(flow: str, sizes: Sizes, larger: bool) -> Transform:
    """Return one of Pyro's coupling layers, which keeps the smaller half of a vector fixed, or the larger one."""
    dim, hidden, context = sizes.dim, sizes.hidden_dims, sizes.context
    fixed = dim - dim // 2 if larger else dim // 2
    free = dim - fixed
    if flow == "spline coupling":
        net = DenseNN(fixed, hidden, [free * BINS, free * BINS, free * (BINS - 1)])
        coupling = pyros.SplineCoupling(
            dim, fixed, net, BINS, BOUND, order="quadratic", identity=True
        )
        coupling.lower_spline = None  # of no use beside the identity
        return coupling
    if context is None:
        return pyros.AffineCoupling(fixed, DenseNN(fixed, hidden, [free, free]))
    return pyros.ConditionalAffineCoupling(
        fixed, ConditionalDenseNN(fixed, context, hidden, [free, free])
    )


def parts(layers: Sequence[Transform]) -> nn.ModuleList:
    """Return the layers that have parameters, on the device; Pyro's permutations are no modules."""
    return nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module)).to(DEVICE)


def ours(flow: str, mode: str, sizes: Sizes) -> Guide:
    """Return our layers in our `Flow`."""
    (layer,) = our_layers(flow, sizes)
    module = Flow(StandardNormal(sizes.dim), layer.inv if mode == "log_prob" else layer).to(DEVICE)

    def distribution(context: Tensor | None) -> Distribution:
        return module() if context is None else module.condition(context)

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        guide = distribution(context)
        x = guide.rsample((sizes.batch,) if context is None else ())
        return x, guide.log_prob(x)

    return Guide(
        list(module.parameters()),
        lambda x, context: distribution(context).log_prob(x),
        rsample_and_log_prob,
    )


def of_pyro(flow: str, mode: str, sizes: Sizes) -> Guide:
    """Return layers of Pyro in its stock distributions."""
    layers = pyro_layers(flow, sizes)
    weights = list(parts(layers).parameters())
    transforms = [layer.inv for layer in reversed(layers)] if mode == "log_prob" else layers
    # A context has the batch in it, and so has the distribution; without one the batch is drawn.
    draws, batch = ((sizes.batch,), ()) if sizes.context is None else ((), (sizes.batch,))
    base = Normal(torch.zeros(*batch, sizes.dim, device=DEVICE), 1.0).to_event(1)

    def distribution(context: Tensor | None) -> Distribution:
        if context is None:
            return TransformedDistribution(base, transforms)
        return ConditionalTransformedDistribution(base, transforms).condition(context)

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        guide = distribution(context)
        x = guide.rsample(draws)
        return x, guide.log_prob(x)

    return Guide(
        weights, lambda x, context: distribution(context).log_prob(x), rsample_and_log_prob
    )


def of_zuko(flow: str, mode: str, sizes: Sizes) -> Guide | None:
    """Return a flow of zuko, which has no planar one."""
    if flow == "planar":
        return None
    univariate, shapes = MonotonicAffineTransform, [(), ()]
    if flow == "spline coupling":
        univariate, shapes = (
            partial(MonotonicRQSTransform, bound=BOUND),
            [(BINS,), (BINS,), (BINS - 1,)],
        )
    module = (MAF if flow in ("maf", "iaf") else NICE)(
        sizes.dim,
        sizes.context or 0,
        sizes.length,
        hidden_features=sizes.hidden_dims,
        univariate=univariate,
        shapes=shapes,
    ).to(DEVICE)
    if mode == "rsample":
        module.transform = module.transform.inv
    batch = (sizes.batch,) if sizes.context is None else ()
    return Guide(
        list(module.parameters()),
        lambda x, context: module(context).log_prob(x),
        lambda context: module(context).rsample_and_log_prob(batch),
    )


def of_nflows(flow: str, mode: str, sizes: Sizes) -> Guide | None:
    """Return a flow of nflows, which has no planar one."""
    if flow == "planar":
        return None
    layers: list[nn.Module] = []
    for i in range(sizes.length):
        mask = (torch.arange(sizes.dim) < sizes.dim // 2) == bool(i % 2)
        if flow in ("maf", "iaf"):
            if i:
                layers.append(nflows.ReversePermutation(sizes.dim))
            layers.append(
                nflows.MaskedAffineAutoregressiveTransform(
                    sizes.dim, sizes.hidden, sizes.context, num_blocks=1, use_residual_blocks=False
                )
            )
        elif flow == "affine coupling":
            layers.append(nflows.AffineCouplingTransform(mask, partial(Perceptron, sizes)))
        else:
            layers.append(
                nflows.PiecewiseRationalQuadraticCouplingTransform(
                    mask, partial(Perceptron, sizes), BINS, tails="linear", tail_bound=BOUND
                )
            )
    transform = nflows.CompositeTransform(layers)
    if mode == "rsample":
        transform = nflows.InverseTransform(transform)
    module = NflowsFlow(transform, NflowsNormal([sizes.dim])).to(DEVICE)

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_q = module.sample_and_log_prob(sizes.batch if context is None else 1, context)
        return x.view(sizes.batch, -1), log_q.view(sizes.batch)

    return Guide(list(module.parameters()), module.log_prob, rsample_and_log_prob)


class Hypernet(nn.Module):
    """b, u and w of one of Pyro's planar maps, linear in the context, as ours are."""

    def __init__(self, dim: int, context: int) -> None:
        super().__init__()
        self.sizes = [1, dim, dim]
        self.linear = nn.Linear(context, sum(self.sizes))

    def forward(self, context: Tensor) -> tuple[Tensor, ...]:
        return self.linear(context).split(self.sizes, dim=-1)


class Perceptron(nn.Module):
    """A network for the couplings of nflows, whose own one takes no context."""

    def __init__(self, sizes: Sizes, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden_features = sizes.hidden  # by its root nflows divides the sizes of the bins
        self.net = nn.Sequential(
            nn.Linear(inputs + (sizes.context or 0), sizes.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(sizes.hidden, sizes.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(sizes.hidden, outputs),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x if context is None else torch.cat((x, context), dim=-1))


LIBRARIES: dict[str, Callable[[str, str, Sizes], Guide | None]] = {
    "ours": ours,
    "Pyro": of_pyro,
    "zuko": of_zuko,
    "nflows": of_nflows,
}
