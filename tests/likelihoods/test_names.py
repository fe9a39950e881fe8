"""Likelihoods by name."""

import pytest

from pyro_exact import likelihoods
from pyro_exact.autoregressive import MADE, NADE, DeepNADE, GatedPixelCNN, PixelCNNpp
from pyro_exact.likelihoods import (
    LIKELIHOODS,
    BernoulliLikelihood,
    GaussianLikelihood,
    make_likelihood,
)


def test_every_likelihood_has_a_name():
    classes = {name for name in likelihoods.__all__ if name[0].isupper() and name != "LIKELIHOODS"}
    assert {kind.__name__ for kind in LIKELIHOODS.values()} == classes - {"Likelihood"}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_name_alone_makes_the_likelihood(name):
    levels = 2 if name == "bernoulli" else 4
    made = make_likelihood(name, channels=3, levels=levels)
    assert type(made) is LIKELIHOODS[name]
    assert made.levels in (None, levels)


def test_settings_override_the_defaults():
    settings = {"name": "discretized_logistic_mixture", "components": 5}
    made = make_likelihood(settings, channels=1, levels=4)
    assert (made.channels, made.levels, made.components) == (1, 4, 5)
    assert make_likelihood({"name": "gaussian", "channels": 2}).site_shape == (2,)
    assert make_likelihood("gaussian", channels=3).site_shape == ()


@pytest.mark.parametrize(
    ("settings", "levels", "message"),
    [
        ("poisson", None, "expects a name, one of bernoulli, .*; got 'poisson'"),
        ({"components": 3}, None, "expects a name, one of bernoulli, .*; got None"),
        ({"name": "bernoulli", "levels": 2}, None, "expects the arguments none; got 'levels'"),
        ("categorical", None, "categorical expects levels; got none"),
        ("bernoulli", 256, "bernoulli expects data of 2 levels; got 256"),
    ],
)
def test_wrong_settings_are_refused(settings, levels, message):
    with pytest.raises(ValueError, match=message):
        make_likelihood(settings, levels=levels)


def test_networks_take_a_likelihood_by_name():
    mixture = {"name": "discretized_logistic_mixture", "components": 2}

    assert isinstance(MADE(3, likelihood="gaussian").likelihood, GaussianLikelihood)
    assert isinstance(NADE(3, 4, likelihood="bernoulli").likelihood, BernoulliLikelihood)
    assert DeepNADE(3, (4,), likelihood={"name": "categorical", "levels": 5}).likelihood.levels == 5

    net = GatedPixelCNN((3, 4, 4), levels=8, width=4, depth=1, likelihood=mixture)
    assert (net.likelihood.channels, net.likelihood.levels) == (3, 8)
    assert PixelCNNpp((1, 4, 4), levels=4, width=4, depth=1, likelihood="categorical").levels == 4


def test_networks_name_the_likelihoods_that_there_are():
    with pytest.raises(ValueError, match="expects a name, one of bernoulli, categorical"):
        NADE(3, 4, likelihood="bernouli")
