"""Recomputation of layers with dropout."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.nn import DenseConditioner, MaskedDense
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Coupling,
    Halves,
    MaskedAutoregressive,
)


def perturb(module, std=0.3):
    for p in module.parameters():
        p.data.add_(std * torch.randn_like(p))
    return module


class Dropping(DenseConditioner):
    """A conditioner that drops half of its outputs, and counts its evaluations."""

    calls = 0

    def forward(self, x, context=None):
        self.calls += 1
        return nn.functional.dropout(super().forward(x, context), 0.5, self.training)


def dropping_coupling(swap=False):
    return Coupling(Halves(4, swap), Affine(), Dropping(2, 2, 2, (6,)))


def gradients(layer, x):
    torch.manual_seed(0)
    y, ladj = layer.forward_and_ladj(x)
    return torch.autograd.grad((y.square().sum(-1) + ladj).sum(), [x, *layer.parameters()])


def test_recompute_in_couplings_drops_the_same_units():
    parts = [perturb(dropping_coupling(swap)) for swap in (False, True)]
    x = torch.randn(5, 4, requires_grad=True)
    assert_close(gradients(Compose(parts, recompute=True), x), gradients(Compose(parts), x))


class WithDropout(MaskedDense):
    """Its steps drop nothing."""

    def __init__(self):
        super().__init__(4, 2, (8,), dropout=0.5)


@pytest.mark.parametrize(
    "part",
    [
        lambda: MaskedAutoregressive(Affine(), WithDropout()),
        lambda: Compose([coupling_with_module_dropout(), coupling_with_module_dropout()]),
    ],
    ids=["autoregressive", "nested"],
)
def test_recompute_refuses_parts_that_would_drop_other_units(part):
    layer = Compose([part(), ActNorm(4)], recompute=True)
    with pytest.raises(
        ValueError, match=r"drop the same units in both directions.* with dropout in training mode"
    ):
        layer(torch.randn(5, 4))
    layer.eval()(torch.randn(5, 4))


def coupling_with_module_dropout():
    class Conditioner(DenseConditioner):
        def __init__(self):
            super().__init__(2, 2, 2, (6,))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x, context=None):
            return self.dropout(super().forward(x, context))

    return Coupling(Halves(4), Affine(), Conditioner())
