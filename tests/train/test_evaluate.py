"""The evaluation of a model."""

import math

import numpy as np
import pytest
import torch
from helpers.runs import LEVELS, fit, images, recipe
from pyro.distributions import Categorical
from torch import nn

from pyro_exact import models, recipes, train
from pyro_exact.train.baselines import independent_bits_per_dim, uniform_bits_per_dim
from pyro_exact.train.evaluate import batch_seed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 20 steps with averaged weights; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    fit(recipe(ema_decay=0.9), folder)
    return folder


class Pixels(nn.Module):
    """Independent pixels: an exact likelihood."""

    def __init__(self, shape=(1, 4, 4)):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(*shape, LEVELS))

    def forward(self):
        return Categorical(logits=self.logits).to_event(3)


@pytest.fixture
def exact():
    return models.Density(Pixels())


def test_evaluate_score_is_an_exact_sum_over_an_exact_count(exact):
    x = images(count=37).train
    log_p = torch.log_softmax(exact.distribution.logits.double(), -1).expand(37, -1, -1, -1, -1)
    nats = -log_p.gather(-1, x.long().unsqueeze(-1)).flatten(1).sum(1)
    for batch_size in (1, 10, 37, 100):  # the last batch of 10 is not full
        score = train.evaluate(exact, x, batch_size=batch_size)
        assert score.nats == pytest.approx(nats.mean().item(), rel=1e-6)
        assert score.bits_per_dim == pytest.approx(
            nats.mean().item() / (16 * math.log(2)), rel=1e-6
        )
        error = nats.std().item() / math.sqrt(37)
        assert score.standard_error_nats == pytest.approx(error, rel=1e-5)
        assert score.standard_error == pytest.approx(error / (16 * math.log(2)), rel=1e-5)
        assert (score.images, score.dims, score.bound) == (37, 16, "exact")


def test_evaluate_takes_the_mean_in_float64(exact):
    x = torch.zeros(50_000, 1, 4, 4, dtype=torch.uint8)
    one = train.evaluate(exact, x[:1]).nats
    assert train.evaluate(exact, x, batch_size=10_000).nats == pytest.approx(one, rel=1e-9)


def test_evaluate_with_more_samples_gives_a_tighter_bound(finished):
    model, _ = train.load_model(finished / train.LAST)
    x = images(count=2000).train
    elbo, bound = (train.evaluate(model, x, k=k, batch_size=8000) for k in (1, 4))
    assert (elbo.bound, elbo.k, bound.bound, bound.k) == ("elbo", 1, "importance-weighted", 4)
    assert bound.nats < elbo.nats - 0.01
    torch.manual_seed(batch_seed(0, first=0))
    weights = model.log_weight(x, samples=4).double()
    assert bound.nats == pytest.approx(math.log(4) - weights.logsumexp(0).mean().item(), rel=1e-6)


def test_evaluate_noise_is_that_of_the_seed_and_the_caller_is_left_alone(finished):
    model, _ = train.load_model(finished / train.LAST)
    model.train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (train.evaluate(model, images().test, seed=seed) for seed in (1, 1, 2))
    assert a == b != c
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda x: x[:0], ValueError, "at least one image"),
        (lambda x: x + LEVELS, ValueError, "pixel levels from 0 to 3"),
        (lambda x: x - 1.0, ValueError, "pixel levels from 0 to 3"),
        (lambda x: x / 2.0, ValueError, "whole pixel levels"),
        (lambda x: x * math.nan, ValueError, "to be finite; got 256 of 256 elements NaN"),
        (lambda x: x.expand(-1, 3, -1, -1), ValueError, r"\(\*, 1, 4, 4\); got \(\d+, 3, 4, 4\)"),
        (lambda x: x[..., :3], ValueError, r"\(\*, 1, 4, 4\); got \(\d+, 1, 4, 3\)"),
        (lambda x: x > 1, TypeError, "got torch.bool"),
    ],
)
def test_evaluate_refuses_images_that_the_model_cannot_score(finished, spoil, error, message):
    model, _ = train.load_model(finished / train.LAST)
    with pytest.raises(error, match=message):
        train.evaluate(model, spoil(images().test))


SEEDS = [{"seed": seed} for seed in ("a", None, 2**70, 1.5)]


@pytest.mark.parametrize(
    "arguments", [{"k": 0}, {"k": 2.0}, {"batch_size": 0}, {"batch_size": math.nan}, *SEEDS]
)
def test_evaluate_refuses_senseless_numbers(exact, arguments):
    with pytest.raises(
        (ValueError, TypeError), match=r"evaluate expects (k|batch_size|seed) .*; got .*\. \w+"
    ):
        train.evaluate(exact, images().test, **arguments)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, TypeError, "expects images as a tensor; got NoneType"),
        (np.zeros((2, 1, 4, 4)), TypeError, "expects images as a tensor; got ndarray"),
        (torch.tensor(1), ValueError, r"images of shape \(N, \.\.\.\); got .*\(\)\. Stack them"),
    ],
)
def test_evaluate_does_not_score_what_is_no_batch(exact, given, error, message):
    with pytest.raises(error, match=message):
        train.evaluate(exact, given)


def test_evaluate_scores_only_models():
    with pytest.raises(
        TypeError, match=r"evaluate expects a GenerativeModel; got Linear\. Pass one"
    ):
        train.evaluate(torch.nn.Linear(2, 2), images().test)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros(3, int), TypeError, "labels as a tensor; got ndarray"),
        ([0, 1, 0], TypeError, "labels as a tensor; got list"),
        (
            torch.zeros(2, dtype=torch.long),
            ValueError,
            r"labels of shape \(3,\), one for each image; got \(2,\)\. Pass",
        ),
        (
            torch.zeros(3, 1, dtype=torch.long),
            ValueError,
            r"labels of shape \(3,\), one for each image; got \(3, 1\)\. Pass",
        ),
        (torch.zeros(3), ValueError, r"integer classes from 0 to 2; got torch\.float32\. Use"),
    ],
)
def test_evaluate_refuses_labels_that_do_not_fit(labels, error, message):
    settings = {
        "name": "gated_pixel_cnn",
        "width": 2,
        "depth": 1,
        "head_width": 2,
        "context_shape": 3,
    }
    model = recipes.Recipe("t", settings, "toy").build((1, 4, 4), LEVELS)
    with pytest.raises(error, match=message):
        train.evaluate(model, images().test[:3], labels=labels)


def test_evaluate_puts_the_model_back_to_training_after_an_error(finished):
    model, _ = train.load_model(finished / train.LAST)
    model.train()
    with pytest.raises(ValueError, match="3, 4, 4"):
        train.evaluate(model, images(channels=3).test)
    assert model.training


def test_baselines():
    seen = torch.tensor([0, 0, 1]).view(3, 1, 1, 1)
    scored = torch.tensor([0, 1]).view(2, 1, 1, 1)
    # Counts 2 and 1 of two levels, each with a half more: 2.5 / 4 and 1.5 / 4.
    expected = -(math.log2(2.5 / 4) + math.log2(1.5 / 4)) / 2
    assert independent_bits_per_dim(seen, scored, levels=2) == pytest.approx(expected)
    assert uniform_bits_per_dim(256) == 8.0
