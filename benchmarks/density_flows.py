"""The flows of the benchmark of held-out likelihood: every builder here and zuko's flows, at their defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
import zuko
from torch import Tensor, nn

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
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


def initialised(build: Callable[[int], Bijection]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of our flows from data to noise, and initialises it."""

    def make(train: Tensor) -> Density:
        bijection = build(train.shape[1])
        bijection.initialize(train[:INITIAL])
        return Density(Flow(StandardNormal(train.shape[1]), bijection.inv))

    return make


def reversed_guide(build: Callable[[int], Bijection]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of our flows of guides, and uses it from data to noise.

    In this direction the score needs no inverse. These flows are near the identity at first, which
    suits the standardised rows.
    """
    return lambda train: Density(Flow(StandardNormal(train.shape[1]), build(train.shape[1]).inv))


def zukos(build: Callable[[int], nn.Module]) -> Callable[[Tensor], Density]:
    """Return a function that builds one of zuko's flows, which have no initialisation from data."""
    return lambda train: Density(build(train.shape[1]))


def zuko_spline_coupling(dim: int) -> nn.Module:
    """Couplings of splines, from zuko's parts: in its NSF, two passes make a layer a coupling."""
    return zuko.flows.NSF(dim, passes=2)


# The builder `iaf` is missing: from data to noise it is a `maf`.
FLOWS: dict[str, Callable[[Tensor], Density]] = {
    "maf": initialised(flows.maf),
    "nsf": initialised(flows.nsf),
    "real_nvp": initialised(flows.real_nvp),
    "spline_coupling": initialised(flows.spline_coupling),
    "couplings(MixtureCDF(8))": initialised(lambda dim: flows.couplings(dim, MixtureCDF(8))),
    "nice": initialised(flows.nice),
    "naf": initialised(flows.naf),
    "bnaf": initialised(flows.bnaf),
    "umnn": initialised(flows.umnn),
    "sos": initialised(flows.sos),
    "bernstein": initialised(flows.bernstein),
    "gaussianization": initialised(flows.gaussianization),
    "planar": reversed_guide(flows.planar),
    "radial": reversed_guide(flows.radial),
    "sylvester": reversed_guide(flows.sylvester),
    "zuko MAF": zukos(zuko.flows.MAF),
    "zuko NSF": zukos(zuko.flows.NSF),
    "zuko NSF, couplings": zukos(zuko_spline_coupling),
    "zuko NAF": zukos(zuko.flows.NAF),
    "zuko UNAF": zukos(zuko.flows.UNAF),
    "zuko SOSPF": zukos(zuko.flows.SOSPF),
    "zuko BPF": zukos(zuko.flows.BPF),
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
