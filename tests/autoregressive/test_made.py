"""MADE: its masks and orders."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import MADE, scans
from pyro_exact.ops.masked_product import BLOCKS

pytestmark = pytest.mark.usefixtures("double")


def test_made_masks_have_the_orders_that_they_are_given():
    orders = scans((2, 3))[:3]
    made = MADE((1, 2, 3), (8,), masks=3, order=orders)
    assert made.orders.tolist() == orders
    again = MADE((1, 2, 3), (8,), masks=3)
    again.load_state_dict(made.state_dict())
    assert again.orders.tolist() == orders


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("hidden", [1, 3, 30])
def test_made_has_no_dead_unit(hidden, layers):
    made = MADE(10, [hidden] * layers, masks=2)
    for member in range(2):
        for layer in made.dense.layers[:-1]:
            degrees = layer.out_degrees[member]
            assert 1 <= degrees.min() <= degrees.max() <= 9
            assert layer.mask(member).any(1).all()
        assert made.dense.layers[-1].mask(member).any(0).all()


def test_made_masks_of_an_ensemble_differ_and_are_those_of_the_seed():
    first, same, other = (MADE(10, (30, 30), masks=2, seed=seed).state_dict() for seed in (1, 1, 2))
    for name, value in first.items():
        if "degrees" in name or "orders" in name:
            assert torch.equal(value, same[name])
            assert not torch.equal(value, other[name])
            assert not torch.equal(*value)


@pytest.mark.parametrize("masks", [1, 2])
def test_made_blocks_of_units_leave_out_what_none_of_them_sees(monkeypatch, masks):
    x = torch.randint(2, (5, 40)).double()
    results = []
    for small in (10**6, 0):
        monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", small)
        made = MADE(40, (50, 50), masks=masks)
        torch.manual_seed(3)
        for p in made.parameters():
            torch.nn.init.normal_(p, std=0.5)
        y = made(x)
        results.append((y, torch.autograd.grad(y.square().sum(), list(made.parameters()))))
    assert_close(*results)
    blocks = made.dense.layers[0].structure.blocks[0].blocks
    assert len(blocks) == (BLOCKS if masks == 1 else 1)
    if masks == 1:
        assert sum(block.reach for block in blocks) < 0.7 * BLOCKS * 40
        assert sum(block.reach - block.whole for block in blocks) < 0.2 * BLOCKS * 40


@pytest.fixture(params=[10**6, 0], ids=["whole", "in blocks"])
def small(request, monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", request.param)
