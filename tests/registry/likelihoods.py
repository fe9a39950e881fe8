"""Likelihoods of a site."""

from collections.abc import Callable

from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    CircularLogisticMixture,
    DiscretizedLogisticMixture,
    GaussianLikelihood,
    Likelihood,
)

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "BernoulliLikelihood": BernoulliLikelihood,
    "CategoricalLikelihood": lambda: CategoricalLikelihood(4),
    "CircularLogisticMixture": lambda: CircularLogisticMixture(4, 2),
    "DiscretizedLogisticMixture": lambda: DiscretizedLogisticMixture(3, 4, 2),
    "GaussianLikelihood": GaussianLikelihood,
    "GaussianLikelihood of channels": lambda: GaussianLikelihood(3),
}
