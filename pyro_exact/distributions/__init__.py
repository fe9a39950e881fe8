"""Distributions of flows, of independent sites, of random subsets, and of dequantisation noise."""

from pyro_exact.distributions.bases import (
    ClassNormal,
    LowRankNormal,
    NormalMixture,
    StudentNoise,
    UniformBox,
)
from pyro_exact.distributions.dequantizer import FlowDequantizer, UniformDequantizer
from pyro_exact.distributions.discrete_flow import DiscreteFlow
from pyro_exact.distributions.flow import Flow, StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.distributions.flow_with_angles import FlowWithAngles
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.distributions.inverse_autoregressive import InverseAutoregressive
from pyro_exact.distributions.mixture import Mixture
from pyro_exact.distributions.subset import Subset

__all__ = [
    "ClassNormal",
    "DiscreteFlow",
    "Flow",
    "FlowDequantizer",
    "FlowPosterior",
    "FlowWithAngles",
    "IndependentSites",
    "InverseAutoregressive",
    "LowRankNormal",
    "Mixture",
    "NormalMixture",
    "StandardNormal",
    "StudentNoise",
    "Subset",
    "UniformBox",
    "UniformDequantizer",
]
