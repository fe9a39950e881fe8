"""The flows of the benchmark of held-out likelihood: every builder here and zuko's flows, at their defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
import zuko
from torch import Tensor, nn

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.transforms import Bijection, MixtureCDF

INITIAL = 2_000  # rows that `initialize` gets


class Density(nn.Module):
    """A flow that returns the log-density of rows."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-density of each row."""
        density: Tensor = self.flow().log_prob(x)
        return density


def to_noise(build: Callable[[int], Bijection]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of our flows from data to noise, and initialises it."""
    return to_data(lambda dim: build(dim).inv)


def to_data(build: Callable[[int], Bijection]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of our flows from noise to data, and initialises it."""

    def make(train: Tensor) -> Density:
        dim = train.shape[1]
        flow = Flow(StandardNormal(dim), build(dim))
        initialize_flow(flow, train[:INITIAL], "The benchmark")
        return Density(flow)

    return make


def zukos(build: Callable[[int], nn.Module]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of zuko's flows, which have no initialisation from data."""
    return lambda train: Density(build(train.shape[1]))


def zuko_spline_coupling(dim: int) -> nn.Module:
    """Couplings of splines, from zuko's parts: in its NSF, two passes make a layer a coupling."""
    return zuko.flows.NSF(dim, passes=2)


# The builder `iaf` is missing: it is a `maf` in the other direction, whose score takes one step for
# each dimension.
FLOWS: dict[str, Callable[[Tensor], Density]] = {
    "maf": to_noise(flows.maf),
    "nsf": to_noise(flows.nsf),
    "real_nvp": to_noise(flows.real_nvp),
    "spline_coupling": to_noise(flows.spline_coupling),
    "couplings(MixtureCDF(8))": to_noise(lambda dim: flows.couplings(dim, MixtureCDF(8))),
    "nice": to_noise(flows.nice),
    "planar": to_data(flows.planar),
    "radial": to_data(flows.radial),
    "sylvester": to_data(flows.sylvester),
    "zuko MAF": zukos(zuko.flows.MAF),
    "zuko NSF": zukos(zuko.flows.NSF),
    "zuko NSF, couplings": zukos(zuko_spline_coupling),
    "zuko NAF": zukos(zuko.flows.NAF),
    "zuko GF": zukos(zuko.flows.GF),
    "zuko RealNVP": zukos(zuko.flows.RealNVP),
}


def parameters(density: Density) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in density.parameters() if p.requires_grad)


def seeded(name: str, train: Tensor, seed: int) -> Density:
    """Return a flow with seeded initial weights."""
    torch.manual_seed(seed)
    return FLOWS[name](train)
