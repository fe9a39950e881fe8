"""Compose applies, initialises and checks its parts in order."""

import pytest
import torch
from registry import dense
from torch import nn
from torch.testing import assert_close

from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Flatten,
    Halves,
    Permute,
    Squeeze,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


def test_compose_applies_its_parts_in_order():
    parts = [perturb(ActNorm(3)), Permute([2, 0, 1]), perturb(dense(Halves(3), Affine(), None))]
    x = torch.randn(5, 3)
    assert_close(Compose(parts)(x), parts[2](parts[1](parts[0](x))), rtol=0, atol=0)


def test_compose_initialises_each_part_on_the_output_of_the_one_before():
    layer = Compose([ActNorm(3), perturb(dense(Halves(3), Affine(), None)), ActNorm(3)])
    y = layer.initialize(5 + 2 * torch.randn(100, 3))
    assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-12)
    assert_close(y.std(0, correction=0), torch.ones(3))
    assert not y.requires_grad


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: [], "expects at least one part"),
        (lambda: [Squeeze(), ActNorm(4)], "Squeeze with 3 before ActNorm with 1"),
        (lambda: [ActNorm(4), Squeeze()], "equal event dimensions"),
        (lambda: [Flatten((1, 2, 2)), Squeeze()], "Flatten with 1 before Squeeze with 3"),
        (
            lambda: [ActNorm(2, context_dim=1), ActNorm(2, context_dim=3)],
            "expects one context shape",
        ),
    ],
)
def test_compose_refuses_parts_that_do_not_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        Compose(parts())


def test_compose_checks_every_part_before_it_computes():
    with pytest.raises(
        ValueError, match=r"ActNorm expects 3 channels; got 4 in shape \(5, 4, 2, 2\)"
    ):
        Compose([Squeeze(), ActNorm(3, event_dim=3)])(torch.zeros(5, 1, 4, 4))
