"""The block autoregressive layer by hand, beside Pyro, and its inverse where it is hard."""

from math import atanh, log

import pytest
import torch
from pyro.distributions.transforms import BlockAutoregressive as OfPyro
from torch.autograd import gradgradcheck
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.transforms import BlockAutoregressive

pytestmark = pytest.mark.usefixtures("double")


def perturbed(layer, std=0.5):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return layer


# The row (3, e^d = 4) has the norm 5, its gain: y_2 = a(4 x_2) at x_1 = 0. With tanh(4 x_2) = 1/2 and alpha = 1/10,
# y_2 = atanh(1/2) / 10 + 9/10 1/2, with the slope 4 (1/10 + 9/10 3/4) = 31/10; y_1 = a(0), with the slope 1.
def test_a_layer_of_width_one_by_hand():
    layer = BlockAutoregressive(2, width=1, depth=1)
    for parameter in layer.parameters():
        parameter.data.zero_()
    first = layer.layers[0]
    first.lower.data[0, 0, 0, 0] = 3
    first.diagonal.data[1] = log(4)
    first.log_gain.data[1] = log(5)

    x = torch.tensor([0.0, atanh(0.5) / 4])
    y = torch.tensor([0.0, atanh(0.5) / 10 + 0.45])
    assert_close(layer.forward_and_ladj(x), (y, torch.tensor(log(3.1))))
    assert_close(layer.inverse_and_ladj(y), (x, torch.tensor(-log(3.1))))


@pytest.mark.parametrize("depth", [1, 2])
def test_the_network_of_pyro(depth):
    """Pyro's activation is tanh alone: ours with a least slope of 0, for which there is no inverse."""
    dim, width = 3, 4
    ours = BlockAutoregressive(dim, width, depth)
    theirs = OfPyro(dim, hidden_factors=[width] * depth, residual=None)
    ours.least_slope = 0.0
    for mine, peer in zip(ours.layers, theirs.layers, strict=True):
        _, above, below = mine.diagonal.shape
        weight = peer._weight.view(dim, above, dim, below)
        mine.lower.data = weight.data[1:, :, :-1]
        mine.diagonal.data = torch.stack([weight[i, :, i] for i in range(dim)]).data
        mine.log_gain.data = peer._diag_weight.view(dim, above).data
        mine.bias.data = peer.bias.view(dim, above).data

    x = torch.randn(20, dim)
    y, ladj = ours.forward_and_ladj(x)
    found = theirs(x)
    assert_close(found, y, rtol=1e-5, atol=1e-5)
    ladj_found = theirs.log_abs_det_jacobian(x, found)
    assert_close(ladj_found, ladj, rtol=1e-5, atol=1e-5)


def test_the_jacobian_is_triangular():
    layer = perturbed(BlockAutoregressive(4, 3, 2))
    matrix = jacobian(lambda x: layer.forward_and_ladj(x)[0], torch.randn(4))
    assert not matrix.triu(1).any()
    assert (matrix.diagonal() > 0).all()
    assert matrix.tril(-1).count_nonzero() == 6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("std", [0.5, 3.0])
def test_every_number_has_an_inverse(std, dtype):
    """Also beyond the range of tanh, and where hidden units are saturated."""
    layer = perturbed(BlockAutoregressive(3, 4, 2), std).to(dtype)
    for scale in (1e-8, 1.0, 100.0, 1e4):
        y = (scale * torch.randn(50, 3)).to(dtype)
        x, ladj = layer.inverse_and_ladj(y)
        again, _ = layer.forward_and_ladj(x)
        assert torch.cat((x, ladj.unsqueeze(-1)), -1).isfinite().all()
        # The rounding of a dimension moves the ones after it, by the slopes off the diagonal.
        size = 1 + y.abs().amax(-1, keepdim=True) + x.abs().amax(-1, keepdim=True)
        stretch = 1 + max(
            parameter.abs().amax().exp() for parameter in layer.parameters() if parameter.numel()
        )
        assert ((again - y).abs() <= 1e3 * torch.finfo(dtype).eps * size * stretch).all()


def test_the_inverse_has_its_second_derivatives():
    layer = perturbed(BlockAutoregressive(2, 2, 1))
    y = torch.randn(2, requires_grad=True)
    assert gradgradcheck(layer.inverse_and_ladj, (y,))


def test_a_context_reaches_every_layer():
    layer = BlockAutoregressive(2, 3, 2, context_dim=2)
    assert all(hasattr(part, "context") for part in layer.layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "BlockAutoregressive expects dim from 1"),
        ({"dim": 2, "width": 0}, "BlockAutoregressive expects width from 1"),
        ({"dim": 2, "depth": 0}, "BlockAutoregressive expects depth from 1"),
        (
            {"dim": 2, "least_slope": 0.0},
            "BlockAutoregressive expects least_slope as a finite number",
        ),
    ],
)
def test_a_bad_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        BlockAutoregressive(**options)
