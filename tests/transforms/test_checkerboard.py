"""Couplings on a checkerboard."""

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.nn import ConvConditioner
from pyro_exact.transforms import (
    Additive,
    Affine,
    Checkerboard,
    Compose,
    Coupling,
    Squeeze,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


@pytest.mark.parametrize("swap", [False, True])
def test_checkerboard_coupling_changes_one_colour_as_a_function_of_the_other(swap):
    layer = perturb(Coupling(Checkerboard(2, swap), Affine(), ConvConditioner(4, 4, 2, 8)), 0.2)
    x = torch.randn(2, 4, 6)
    y, _ = layer.forward_and_ladj(x)
    fixed = (torch.arange(4)[:, None] + torch.arange(6)) % 2 == int(swap)
    assert torch.equal(y[:, fixed], x[:, fixed])
    assert (y != x)[:, ~fixed].all()
    full = jacobian(lambda x: layer.forward_and_ladj(x)[0], x)
    others = full[:, ~fixed][..., ~fixed]  # (C, free, C, free)
    diagonal = torch.eye(others.shape[0] * others.shape[1], dtype=torch.bool).view(others.shape)
    assert not others[~diagonal].any()


def test_checkerboard_composes_with_squeeze():
    layers = [
        Coupling(Checkerboard(1, swap), Affine(), ConvConditioner(2, 2, 2, 8))
        for swap in (False, True)
    ]
    flow = perturb(Compose([*layers, Squeeze()]), 0.2)
    x = torch.randn(3, 1, 4, 4)
    y, ladj = flow.forward_and_ladj(x)
    assert_close(flow.inverse_and_ladj(y), (x, -ladj))


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 7)])
def test_checkerboard_refuses_odd_images(shape):
    layer = Coupling(Checkerboard(1), Additive(), ConvConditioner(2, 2, 1, 4))
    message = rf"Checkerboard expects even height and width; got \(1, {shape[1]}, {shape[2]}\). Pad the image or start"
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(shape))
