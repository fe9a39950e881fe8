"""Models that are conditioned on classes."""

import pytest
import torch
from helpers.two_pixels import perturb
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from registry import (
    pixels,
    small_glow,
)
from torch.testing import assert_close

from pyro_exact.distributions import Flow, StandardNormal, UniformDequantizer
from pyro_exact.models import Dequantized

pytestmark = pytest.mark.usefixtures("double")


def test_glow_draws_by_class():
    """With a class as context, each class has a density of its own, in one batch."""
    bijection = small_glow(3)
    bijection.initialize(pixels((60, 1, 4, 4)), torch.eye(3).repeat(20, 1))
    flow = Flow(StandardNormal(16), perturb(bijection, 0.1).inv)
    classes = flow.condition(torch.eye(3), temperature=0.7)
    v = classes.sample((5,))
    assert v.shape == (5, 3, 1, 4, 4)
    scores = torch.stack([flow.condition(row).log_prob(v) for row in torch.eye(3)])
    assert_close(scores.diagonal(dim1=0, dim2=2), flow.condition(torch.eye(3)).log_prob(v))
    assert not torch.allclose(scores[0], scores[1])


@pytest.fixture
def by_class():
    """A model of three classes, and six images of four levels with their classes."""
    bijection, labels, x = (
        small_glow(3),
        torch.tensor([2, 0, 1, 1, 0, 2]),
        torch.randint(4, (6, 1, 4, 4)),
    )
    bijection.initialize(UniformDequantizer(x.double()).sample(), torch.eye(3)[labels])
    return Dequantized(Flow(StandardNormal(16), perturb(bijection, 0.1).inv), levels=4), x, labels


def test_class_conditional_model_scores_each_image_in_its_own_class(by_class):
    model, x, labels = by_class
    assert model.classes == 3
    v = {"v": UniformDequantizer(x.double()).sample()}

    def score(label):
        return (
            poutine.trace(poutine.condition(model.condition(label).model, v))
            .get_trace(x)
            .nodes["v"]
        )

    nodes = [score(torch.full((6,), label)) for label in range(3)]
    each = torch.stack([node["fn"].log_prob(node["value"]) for node in nodes])
    together = score(labels)
    assert_close(together["fn"].log_prob(together["value"]), each[labels, torch.arange(6)])
    assert not torch.allclose(each[0], each[1])


def test_class_conditional_model_is_trained_by_stock_svi(by_class):
    model, x, labels = by_class
    given = model.condition(labels)
    svi = SVI(given.model, given.guide, Adam({"lr": 0.01}), Trace_ELBO())
    before = {name: p.clone() for name, p in model.named_parameters()}
    start = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    for _ in range(30):
        svi.step(x)
    assert sum(svi.evaluate_loss(x) for _ in range(5)) / 5 < start - 0.1 * len(x)
    assert all(
        not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.numel()
    )


def test_class_conditional_model_draws_from_each_class(by_class):
    model, x, labels = by_class
    drawn = model.condition(torch.tensor([2, 0])).sample(5, temperature=0.7)
    assert drawn.shape == (5, 2, 1, 4, 4)
    given = model.condition(labels)
    assert torch.equal(given.decode(given.encode(x).clone()), x)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.tensor([0, 3]), r"integer classes from 0 to 2; got 3, and 1 of 2 labels"),
        (torch.tensor([-1]), r"integer classes from 0 to 2; got -1, and 1 of 1 labels"),
        (torch.tensor([0.5]), r"integer classes from 0 to 2; got torch\.float"),
    ],
    ids=str,
)
def test_class_conditional_model_refuses_classes_that_it_does_not_have(by_class, label, message):
    with pytest.raises(ValueError, match=message):
        by_class[0].condition(label)


def test_dequantized_without_classes_cannot_be_given_any(by_class):
    given = by_class[0].condition(torch.tensor([0]))
    assert given.classes is None
    with pytest.raises(ValueError, match="Dequantized expects no labels"):
        given.condition(torch.tensor([0]))
