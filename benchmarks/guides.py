"""The same flows in four libraries, with networks of equal widths, and each library's own way to score and to sample.

Every flow is evaluated in its forward direction, which is the cheap one where one is: from data to noise for the
density of given points, from noise to data for samples and their density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from harness import DEVICE
from nflows import transforms as nflows
from nflows.distributions import StandardNormal
from nflows.flows import Flow as NflowsFlow
from pyro.distributions import ConditionalTransformedDistribution, Distribution, Normal, TransformedDistribution
from pyro.distributions import transforms as pyros
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN
from torch import Tensor, nn
from torch.distributions import Transform
from zuko.flows import MAF, NICE
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from pyro_exact import flows

LENGTHS = {"maf": 3, "iaf": 3, "affine coupling": 4, "planar": 8, "spline coupling": 4}
BINS, BOUND = 8, 3.0


class Size(NamedTuple):
    """Sizes of a flow: two hidden layers of ``hidden`` units, and a context vector or none."""

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


def ours(flow: str, mode: str, size: Size) -> Guide:
    """Return our flow in stock distributions."""
    length, dim, hidden, context = LENGTHS[flow], size.dim, size.hidden_dims, size.context
    layer = {
        "maf": lambda: flows.maf(dim, length, hidden, context, act_norm=False),
        "iaf": lambda: flows.iaf(dim, length, hidden, context),
        "affine coupling": lambda: flows.real_nvp((dim,), length, hidden, context, act_norm=False),
        "planar": lambda: flows.planar(dim, length, context),
        "spline coupling": lambda: flows.spline_coupling((dim,), length, BINS, BOUND, hidden, context, act_norm=False),
    }[flow]()
    return stock([layer], mode, size)


def pyro(flow: str, mode: str, size: Size) -> Guide:
    """Return a flow of Pyro's layers; it has no conditional spline coupling, but an autoregressive one."""
    dim, hidden, context = size.dim, size.hidden_dims, size.context
    if flow in ("maf", "iaf"):
        if context is None:
            build = partial(pyros.affine_autoregressive, dim, hidden)
        else:
            build = partial(pyros.conditional_affine_autoregressive, dim, context, hidden)
        return stock([build() for _ in range(LENGTHS[flow])], mode, size)
    if flow == "planar":
        maps = [pyros.Planar(dim) if context is None else pyros.ConditionalPlanar(Hypernet(dim, context)) for _ in range(8)]
        return stock(maps, mode, size)
    if flow == "spline coupling" and context is not None:
        nets = [ConditionalAutoRegressiveNN(dim, context, hidden, [BINS, BINS, BINS - 1]) for _ in range(LENGTHS[flow])]
        spline = partial(pyros.ConditionalSplineAutoregressive, count_bins=BINS, bound=BOUND, order="quadratic")
        return stock([spline(dim, net) for net in nets], mode, size)
    layers: list[Transform] = []
    for i in range(LENGTHS[flow]):
        if i:
            layers.append(pyros.Permute(torch.arange(dim - 1, -1, -1)))
        layers.append(pyro_coupling(flow, size))
    return stock(layers, mode, size)


def pyro_coupling(flow: str, size: Size) -> Transform:
    """Return one of Pyro's coupling layers."""
    dim, hidden = size.dim, size.hidden_dims
    fixed, free = dim // 2, dim - dim // 2
    if flow == "affine coupling":
        if size.context is None:
            return pyros.AffineCoupling(fixed, DenseNN(fixed, hidden, [free, free]))
        return pyros.ConditionalAffineCoupling(fixed, ConditionalDenseNN(fixed, size.context, hidden, [free, free]))
    net = DenseNN(fixed, hidden, [free * BINS, free * BINS, free * (BINS - 1)])
    return pyros.SplineCoupling(dim, fixed, net, BINS, BOUND, order="quadratic", identity=True)


def stock(layers: Sequence[Transform], mode: str, size: Size) -> Guide:
    """Return layers, of ours or of Pyro, in Pyro's stock distributions."""
    modules = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module)).to(DEVICE)
    transforms = [layer.inv for layer in reversed(layers)] if mode == "log_prob" else list(layers)
    batch = (size.batch,) if size.context is None else ()
    origin = torch.zeros(size.dim) if size.context is None else torch.zeros(size.batch, size.dim)
    base = Normal(origin.to(DEVICE), 1.0).to_event(1)

    def distribution(context: Tensor | None) -> Distribution:
        if context is None:
            return TransformedDistribution(base, transforms)
        return ConditionalTransformedDistribution(base, transforms).condition(context)

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        guide = distribution(context)
        x = guide.rsample(batch)
        return x, guide.log_prob(x)

    return Guide(list(modules.parameters()), lambda x, context: distribution(context).log_prob(x), rsample_and_log_prob)


def of_zuko(flow: str, mode: str, size: Size) -> Guide | None:
    """Return a flow of zuko, which has no planar one."""
    if flow == "planar":
        return None
    univariate, shapes = MonotonicAffineTransform, [(), ()]
    if flow == "spline coupling":
        univariate, shapes = partial(MonotonicRQSTransform, bound=BOUND), [(BINS,), (BINS,), (BINS - 1,)]
    module = (MAF if flow in ("maf", "iaf") else NICE)(
        size.dim,
        size.context or 0,
        LENGTHS[flow],
        hidden_features=size.hidden_dims,
        univariate=univariate,
        shapes=shapes,
    ).to(DEVICE)
    if mode == "rsample":
        module.transform = module.transform.inv
    batch = (size.batch,) if size.context is None else ()
    return Guide(
        list(module.parameters()),
        lambda x, context: module(context).log_prob(x),
        lambda context: module(context).rsample_and_log_prob(batch),
    )


def of_nflows(flow: str, mode: str, size: Size) -> Guide | None:
    """Return a flow of nflows, which has no planar one."""
    if flow == "planar":
        return None
    layers: list[nn.Module] = []
    for i in range(LENGTHS[flow]):
        mask = (torch.arange(size.dim) < size.dim // 2) == bool(i % 2)
        if flow in ("maf", "iaf"):
            if i:
                layers.append(nflows.ReversePermutation(size.dim))
            layers.append(
                nflows.MaskedAffineAutoregressiveTransform(
                    size.dim, size.hidden, size.context, num_blocks=1, use_residual_blocks=False
                )
            )
        elif flow == "affine coupling":
            layers.append(nflows.AffineCouplingTransform(mask, partial(Perceptron, size)))
        else:
            layers.append(
                nflows.PiecewiseRationalQuadraticCouplingTransform(
                    mask, partial(Perceptron, size), BINS, tails="linear", tail_bound=BOUND
                )
            )
    transform = nflows.CompositeTransform(layers)
    if mode == "rsample":
        transform = nflows.InverseTransform(transform)
    module = NflowsFlow(transform, StandardNormal([size.dim])).to(DEVICE)

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_q = module.sample_and_log_prob(size.batch if context is None else 1, context)
        return x.view(size.batch, -1), log_q.view(size.batch)

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

    def __init__(self, size: Size, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden_features = size.hidden  # by its root nflows divides the sizes of the bins
        self.net = nn.Sequential(
            nn.Linear(inputs + (size.context or 0), size.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(size.hidden, size.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(size.hidden, outputs),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x if context is None else torch.cat((x, context), dim=-1))


LIBRARIES: dict[str, Callable[[str, str, Size], Guide | None]] = {
    "ours": ours,
    "Pyro": pyro,
    "zuko": of_zuko,
    "nflows": of_nflows,
}
