"""Distributions: flyweights around flows and causal networks, likelihoods of single sites, and dequantisation noise."""

from pyro_exact.distributions.autoregressive import Autoregressive
from pyro_exact.distributions.bernoulli import BernoulliLikelihood
from pyro_exact.distributions.categorical import CategoricalLikelihood
from pyro_exact.distributions.dequantizer import FlowDequantizer, UniformDequantizer
from pyro_exact.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.distributions.flow import Flow, StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.distributions.gaussian import GaussianLikelihood
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.distributions.inverse_autoregressive import InverseAutoregressive
from pyro_exact.distributions.likelihood import Likelihood
from pyro_exact.distributions.subset import Subset

__all__ = [
    "Autoregressive",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "DiscretizedLogisticMixture",
    "Flow",
    "FlowDequantizer",
    "FlowPosterior",
    "GaussianLikelihood",
    "IndependentSites",
    "InverseAutoregressive",
    "Likelihood",
    "StandardNormal",
    "Subset",
    "UniformDequantizer",
]
