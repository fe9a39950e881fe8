"""The moving average of the weights."""

import importlib

import pytest
import torch

from pyro_exact import data, recipes, train
from pyro_exact.train.ema import ema_update


def images():
    x = torch.randint(0, 4, (16, 1, 4, 4), dtype=torch.uint8)
    return data.Images("toy", x, x[:8], x[:8], levels=4)


def recipe():
    training = {"steps": 3, "batch_size": 8, "validate_every": 2, "ema_decay": 0.9}
    model = {"name": "glow", "scales": 1, "steps": 1, "width": 4}
    return recipes.Recipe.from_dict(
        {"name": "toy", "model": model, "data": "toy", "training": training}, "the test"
    )


def test_ema_update_follows_its_formula():
    average, weights = [torch.tensor([1.0])], [torch.tensor([3.0])]
    update = ema_update(0.5)
    update(average, weights, 0)
    assert average[0].item() == pytest.approx(0.1 * 1 + 0.9 * 3)  # (1 + 0) / (10 + 0) < 0.5
    update(average, weights, 1000)
    assert average[0].item() == pytest.approx(0.5 * 2.8 + 0.5 * 3)


def test_ema_may_stand_anywhere_among_the_callbacks(tmp_path, monkeypatch):
    toy = images()
    train.fit(recipe(), toy, out=tmp_path / "one", progress=False, device="cpu")
    module = importlib.import_module("pyro_exact.train.fit")
    callbacks = module.make_callbacks
    monkeypatch.setattr(module, "make_callbacks", lambda *given: callbacks(*given)[::-1])
    train.fit(recipe(), toy, out=tmp_path / "other", progress=False, device="cpu")

    one, other = (train.read_checkpoint(tmp_path / name / train.LAST) for name in ("one", "other"))
    for key in ("state_dict", "current_model_state"):
        for name, weight in one[key].items():
            assert torch.equal(weight, other[key][name])
    assert any(
        not torch.equal(weight, one["state_dict"][name])
        for name, weight in one["current_model_state"].items()
    )
