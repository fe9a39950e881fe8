"""`check_likelihood` names the law that a likelihood breaks: every law has a likelihood that breaks it."""

import pytest
import torch

from pyro_exact.likelihoods import BernoulliLikelihood, GaussianLikelihood
from pyro_exact.testing import LikelihoodTrial, check_likelihood, likelihood_laws


class KeepsADimension(BernoulliLikelihood):
    def log_prob(self, theta, x):
        return super().log_prob(theta, x).unsqueeze(-1)


class MixesSites(BernoulliLikelihood):
    def log_prob(self, theta, x):
        log_p = super().log_prob(theta, x)
        return log_p + 1e-3 * log_p.sum()


class LosesMass(BernoulliLikelihood):
    def log_prob(self, theta, x):
        return super().log_prob(theta, x) - 1e-6


class ExchangesLevels(BernoulliLikelihood):
    def level_probs(self, theta, earlier):
        return super().level_probs(theta, earlier).flip(-1)


class DrawsTooManyOnes(BernoulliLikelihood):
    def draw(self, theta, noise):
        return super().draw(theta + 0.2, noise)


class DrawsTooWide(GaussianLikelihood):
    def draw(self, theta, noise):
        return 1.001 * super().draw(theta, noise)


class DrawsAThird(BernoulliLikelihood):
    def draw(self, theta, noise):
        return super().draw(theta, noise) + (noise.squeeze(-1) == 0)


class DrawsAtRandom(BernoulliLikelihood):
    def draw(self, theta, noise):
        return super().draw(theta, torch.rand_like(noise))


class HidesNaN(BernoulliLikelihood):
    def draw(self, theta, noise):
        return super().draw(theta.nan_to_num(), noise)


class DetachesTheta(BernoulliLikelihood):
    def log_prob(self, theta, x):
        return super().log_prob(theta.detach() + 0.5 * (theta - theta.detach()), x)


class FitsBadly(BernoulliLikelihood):
    def marginal(self, x):
        return -super().marginal(x) - 3


class RefusesNothing(BernoulliLikelihood):
    def check_values(self, x, where=None):
        pass


class HasAnotherLevel(BernoulliLikelihood):
    levels = 3


BREAKERS = {
    "log_prob_has_the_shape_of_the_sites": KeepsADimension,
    "sites_do_not_mix": MixesSites,
    "mass_is_one": LosesMass,
    "tables_multiply_to_log_prob": ExchangesLevels,
    "draws_have_the_probabilities": DrawsTooManyOnes,
    "draws_have_the_density": DrawsTooWide,
    "draws_are_in_the_support": DrawsAThird,
    "draws_are_functions_of_the_noise": DrawsAtRandom,
    "nan_stays_nan": HidesNaN,
    "gradient_is_that_of_finite_differences": DetachesTheta,
    "marginal_fits_data": FitsBadly,
    "values_outside_the_support_are_refused": RefusesNothing,
    "levels_are_those_of_the_support": HasAnotherLevel,
}


def test_every_likelihood_law_has_a_breaker():
    made = BernoulliLikelihood(), GaussianLikelihood()
    names = {law.name for each in made for law in likelihood_laws(LikelihoodTrial.of(each))}
    assert names == set(BREAKERS)


@pytest.mark.parametrize("name", BREAKERS)
def test_check_likelihood_names_the_broken_law(name):
    with pytest.raises(AssertionError, match=rf"- {name}: "):
        check_likelihood(BREAKERS[name]())


def test_check_likelihood_refuses_what_is_no_likelihood():
    with pytest.raises(TypeError, match="expects a Likelihood; got ABCMeta"):
        check_likelihood(BernoulliLikelihood)
