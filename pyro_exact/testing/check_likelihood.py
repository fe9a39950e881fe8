"""Check all laws of a likelihood at once."""

from __future__ import annotations

import torch

from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.testing import likelihood_laws as likelihood_laws_module
from pyro_exact.testing.law import Law, check_laws, laws_of
from pyro_exact.testing.likelihood_trial import LikelihoodTrial


def check_likelihood(likelihood: Likelihood) -> None:
    """Check that a likelihood obeys the laws of likelihoods, and name broken laws.

    For example, the probabilities of all values must sum to 1, draws must have these probabilities,
    and NaN must stay NaN. Use this check in the tests of your likelihood, using few levels, so that
    all values can be enumerated.

    Args:
        likelihood: The likelihood.

    Raises:
        AssertionError: If the likelihood breaks a law; the message names each broken law.
        TypeError: If ``likelihood`` is not a `Likelihood`.

    Example:
        >>> from pyro_exact.likelihoods import CategoricalLikelihood
        >>> check_likelihood(CategoricalLikelihood(4))
    """
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"check_likelihood expects a Likelihood; got {type(likelihood).__name__}. Pass an "
            "instance."
        )

    with torch.random.fork_rng(devices=[]):
        trial = LikelihoodTrial.of(likelihood)
        name = type(likelihood).__name__
        check_laws(name, likelihood_laws(trial), lambda: LikelihoodTrial.of(likelihood))


def likelihood_laws(trial: LikelihoodTrial) -> list[Law[LikelihoodTrial]]:
    """Return the laws that apply to the likelihood of a trial."""
    return laws_of([likelihood_laws_module], trial)
