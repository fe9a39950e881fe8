"""Masked linear layers serve the transforms of functions."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.nn import (
    MaskedDense,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


@pytest.mark.parametrize("large", [0, 2**16], ids=["in blocks", "whole"])
def test_masked_linear_serves_the_transforms_of_functions(large, monkeypatch):
    """By vmap as one after the other; under a transform a layer must do without blocks, which have no rule for it."""
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", large)
    net = perturb(MaskedDense(3, 2, (16, 16)))
    x, weight = torch.randn(4, 3), net.layers[1].weight.detach()

    def of_weight(weight, x):
        return torch.func.functional_call(net, {"layers.1.weight": weight}, (x,)).square()

    of_input = torch.func.jacrev(net)
    assert_close(of_input(x[0]), torch.autograd.functional.jacobian(net, x[0]))
    for function in (
        of_input,
        torch.func.jacrev(of_input),
        lambda x: torch.func.jacrev(of_weight)(weight, x),
    ):
        assert_close(torch.func.vmap(function)(x), torch.stack([function(row) for row in x]))
