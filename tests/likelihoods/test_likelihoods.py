"""Likelihoods of a site: stock distributions, draws, marginals."""

import pytest
import torch
from pyro.distributions import Bernoulli, Categorical, Normal
from registry import LIKELIHOODS
from torch.testing import assert_close

from pyro_exact.autoregressive import MADE, Autoregressive
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
)

pytestmark = pytest.mark.usefixtures("double")


def test_likelihoods_are_the_stock_distributions():
    theta = torch.randn(50, 4)
    digits = torch.randint(4, (50,)).double()
    assert_close(
        CategoricalLikelihood(4).log_prob(theta, digits), Categorical(logits=theta).log_prob(digits)
    )
    bits, reals = torch.randint(2, (50,)).double(), torch.randn(50)
    assert_close(
        BernoulliLikelihood().log_prob(theta[:, :1], bits),
        Bernoulli(logits=theta[:, 0]).log_prob(bits),
    )
    normal = Normal(theta[:, 0], theta[:, 1].exp())
    assert_close(GaussianLikelihood().log_prob(theta[:, :2], reals), normal.log_prob(reals))
    noise = torch.rand(50, 1)
    assert_close(normal.cdf(GaussianLikelihood().draw(theta[:, :2], noise)), noise[:, 0])
    assert torch.equal(
        BernoulliLikelihood().draw(theta[:, :1], noise) == 1, noise[:, 0] < theta[:, 0].sigmoid()
    )


def test_categorical_levels_are_drawn_in_parts_of_the_interval():
    theta, noise = torch.randn(50, 4), torch.rand(50, 1)
    upper = theta.softmax(-1).cumsum(-1)
    drawn = CategoricalLikelihood(4).draw(theta, noise).long()[:, None]
    assert (noise < upper.gather(-1, drawn)).all()
    assert (noise >= (upper - theta.softmax(-1)).gather(-1, drawn) - 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_categorical_level_of_probability_zero_is_never_drawn(dtype):
    likelihood = CategoricalLikelihood(256)
    theta = torch.randn(2000, 256, dtype=dtype)
    theta[:, [0, 100, 255]] = -torch.inf
    for noise in (0.0, 1 - torch.finfo(dtype).eps / 2):
        drawn = likelihood.draw(theta, torch.full((2000, 1), noise, dtype=dtype))
        assert likelihood.log_prob(theta, drawn).isfinite().all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_likelihoods_give_a_finite_value_for_the_least_noise(likelihood, dtype):
    made = likelihood()
    theta, noise = (
        torch.zeros(3, made.num_params, dtype=dtype),
        torch.zeros(3, made.num_noise, dtype=dtype),
    )
    assert made.draw(theta, noise).isfinite().all()


def test_gaussian_likelihood_of_data_that_is_constant_or_infinite():
    made = MADE(3, (5,), likelihood=GaussianLikelihood())
    x = torch.randn(50, 3) * torch.tensor([1.0, 0.0, 1e-3]) + torch.tensor([0.0, 0.3, 5.0])
    made.initialize(x)
    mean, log_std = made(x[:1]).squeeze(0).unbind(-1)
    assert_close(mean, x.mean(0))
    assert_close(
        log_std,
        torch.tensor([x[:, 0].std(correction=0).log(), 0.0, x[:, 2].std(correction=0).log()]),
    )
    with pytest.raises(ValueError, match="expects finite numbers; got inf, and 1 of 3"):
        Autoregressive(made).log_prob(torch.tensor([0.0, torch.inf, 0.0]))


def test_likelihoods_have_finite_marginals_of_constant_data():
    for likelihood in (BernoulliLikelihood(), CategoricalLikelihood(3), GaussianLikelihood()):
        assert likelihood.marginal(torch.ones(5, 3)).isfinite().all()


def test_categorical_marginal_is_how_often_levels_come():
    x = torch.randint(4, (1000, 3)).double()
    frequencies = (x[..., None] == torch.arange(4)).double().mean(0)
    assert_close(CategoricalLikelihood(4).marginal(x).exp(), frequencies, rtol=0, atol=2e-3)


def test_bernoulli_likelihood_of_saturated_logits_is_finite():
    log_p = BernoulliLikelihood().log_prob(
        torch.tensor([[800.0], [-800.0]]), torch.tensor([0.0, 1.0])
    )
    assert_close(log_p, torch.tensor([-800.0, -800.0]))
