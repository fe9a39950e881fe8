"""Scores that are not finite."""

import json
import math

import pytest
import torch
from helpers.runs import images, recipe

from pyro_exact import recipes, train
from pyro_exact.files import write_json
from pyro_exact.models import GenerativeModel


def a_glow() -> GenerativeModel:
    return recipe().build((1, 4, 4), 4)


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "NaN"), (float("inf"), "infinite elements")]
)
def test_score_from_weights_that_are_not_finite_names_the_layer(value, kind):
    model = a_glow()
    name, weight = next((n, p) for n, p in model.named_parameters() if n.endswith("bias"))
    torch.nn.init.constant_(weight, value)
    message = (
        rf"evaluate expects finite weights; got {kind} in bias of {name.rpartition('.')[0]} \("
    )
    with pytest.raises(train.NotFiniteError, match=message):
        train.evaluate(model, images().test)


def test_score_errors_are_caught_by_one_clause():
    model = recipe().build((1, 4, 4), 4)
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(ValueError, match="finite weights"):
        train.evaluate(model, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_score_that_is_not_finite_names_the_image():
    values = {"name": "t", "model": {"name": "nade", "width": 2}, "data": "toy"}
    model = recipes.Recipe.from_dict(values, "the test").build((1, 2, 2), 2)
    torch.nn.init.constant_(model.distribution.net.b, 1e38)
    torch.nn.init.constant_(model.distribution.net.V, 0.0)
    x = torch.ones(5, 1, 2, 2)
    x[3] = 0
    with pytest.raises(
        train.NotFiniteError, match="got 1 of 5 that are not, first inf nats of image 3"
    ):
        train.evaluate(model, x, batch_size=2)


def test_score_of_one_image_has_no_error(tmp_path):
    score = train.evaluate(a_glow(), images().test[:1])
    assert score.standard_error is None
    assert str(score).endswith(" bits/dim (elbo, k = 1, 1 image)")
    write_json(score.metric("nats"), tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["standard_error"] is None
