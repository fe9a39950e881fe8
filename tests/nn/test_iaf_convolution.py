"""The masked convolutions of inverse autoregressive flows."""

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn import MaskedConvNet
from pyro_exact.ops.elu import elu

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.1):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def test_elu_is_that_of_torch_with_its_gradient():
    x = torch.tensor([-1000.0, -3.0, -1e-9, 0.0, 1e-9, 2.0, 1000.0], requires_grad=True)
    expected = torch.nn.functional.elu(x)
    assert_close(elu(x), expected, rtol=1e-8, atol=1e-15)
    found, known = (torch.autograd.grad(y.sum(), x)[0] for y in (elu(x), expected))
    assert_close(found, known, rtol=1e-8, atol=0)


@pytest.mark.parametrize(("channels", "width", "layers"), [(1, 1, 1), (2, 5, 2), (3, 3, 3)])
def test_masked_conv_net_depends_on_the_elements_before_and_on_no_other(channels, width, layers):
    net = perturb(MaskedConvNet(channels, 2, width, layers), 0.5)
    x, context = torch.randn(1, channels, 3, 4), torch.randn(1, 3, 4, width)
    before = net(x, context)
    order = list(
        product(range(3), range(4), range(channels))
    )  # row by row, and channel by channel of a pixel
    for i, (row, column, channel) in enumerate(order):
        other = x.clone()
        other[0, channel, row, column] += 1
        changed = (net(other, context) != before).any(-1)[0]
        moved = [bool(changed[c, h, w]) for h, w, c in order]
        assert not any(moved[: i + 1])
        assert any(moved[i + 1 :]) or i == len(order) - 1


def test_masked_conv_net_context_reaches_every_element():
    net = perturb(MaskedConvNet(2, 2, 4), 0.5)
    x, context = torch.randn(2, 2, 3, 4), torch.randn(2, 3, 4, 4)
    assert (net(x, context) != net(x, context + 1)).all()
