"""Likelihoods: the distribution of a site, given the parameters computed by a network."""

from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.categorical import CategoricalLikelihood
from pyro_exact.likelihoods.circular_logistic_mixture import CircularLogisticMixture
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.gaussian import GaussianLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import LIKELIHOODS, make_likelihood

__all__ = [
    "LIKELIHOODS",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "CircularLogisticMixture",
    "DiscretizedLogisticMixture",
    "GaussianLikelihood",
    "Likelihood",
    "make_likelihood",
]
