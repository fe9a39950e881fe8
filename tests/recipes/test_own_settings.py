"""Settings of recipes that are not plain arguments: likelihoods by name, and classes of the data."""

import pytest
import torch

from pyro_exact.likelihoods import CategoricalLikelihood, DiscretizedLogisticMixture
from pyro_exact.recipes import Recipe

NADE = {"name": "nade", "width": 4}
PIXELS = {"name": "gated_pixel_cnn", "width": 4, "depth": 1, "head_width": 4}


def recipe(**model):
    return Recipe.from_dict({"name": "mine", "data": "x", "model": model}, "mine")


def test_recipe_names_a_likelihood_with_settings():
    assert isinstance(
        recipe(**NADE, likelihood="categorical").build((1, 2, 2), 5).net.likelihood,
        CategoricalLikelihood,
    )
    mixture = {"name": "discretized_logistic_mixture", "components": 5}
    net = recipe(**PIXELS, likelihood=mixture).filled().build((3, 4, 4), 256).net
    assert isinstance(net.likelihood, DiscretizedLogisticMixture)
    assert net.likelihood.num_params == 5 * 10


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ("categoric", "got 'categoric'. Did you mean 'categorical'"),
        ({"name": "gaussian", "chanels": 3}, "unknown key 'chanels'. Did you mean 'channels'"),
        (3, "expects a name out of bernoulli, .*; got 3"),
        ({"name": "discretized_logistic_mixture", "components": "many"}, "components expects int"),
    ],
)
def test_recipe_refuses_a_likelihood_that_does_not_exist(likelihood, message):
    with pytest.raises(ValueError, match=message):
        recipe(**NADE, likelihood=likelihood)


def test_recipe_of_bits_says_how_to_take_more_levels():
    with pytest.raises(ValueError, match=r"2 levels, 0 and 1; got 256.*--binarize, or --model.lik"):
        recipe(**NADE).build((1, 2, 2), 256)


@pytest.mark.parametrize("model", [PIXELS, {"name": "glow", "scales": 1, "steps": 1, "width": 4}])
def test_recipe_takes_the_number_of_classes_from_labels(model):
    auto = recipe(**model, classes="auto")
    assert auto.for_classes(torch.tensor([2, 0, 6])).build((1, 4, 4), 2).classes == 7
    for call in (lambda: auto.for_classes(None), lambda: auto.build((1, 4, 4), 2)):
        with pytest.raises(ValueError, match="auto"):
            call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**PIXELS, "classes": 3}, "classes expects auto; got 3"),
        ({**NADE, "classes": "auto"}, "no classes, because it is not conditional"),
    ],
)
def test_recipe_refuses_other_classes(settings, message):
    with pytest.raises(ValueError, match=message):
        recipe(**settings)
