"""The invertible 1x1 convolution: its matrix, its determinant, and its precision."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.transforms import Conv1x1

pytestmark = pytest.mark.usefixtures("double")

KINDS = pytest.mark.parametrize("factorized", [True, False], ids=["factorized", "plain"])


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


def matrix(layer, context=None):
    """The matrix of a layer: what it does to the unit vectors, each an image of one pixel."""
    units = torch.eye(layer.channels, dtype=next(layer.parameters()).dtype)[..., None, None]
    bound = layer if context is None else layer.condition(context)
    return bound.forward_and_ladj(units)[0].flatten(1).mT


@KINDS
def test_conv1x1_ladj_is_the_number_of_pixels_times_that_of_the_matrix(factorized):
    layer = perturb(Conv1x1(5, factorized=factorized))
    _, ladj = layer.forward_and_ladj(torch.randn(2, 5, 3, 4))
    assert_close(ladj, 12 * torch.linalg.slogdet(matrix(layer))[1].expand(2))


@KINDS
def test_conv1x1_multiplies_every_pixel_by_the_matrix(factorized):
    layer = perturb(Conv1x1(5, factorized=factorized))
    x = torch.randn(2, 5, 3, 4)
    assert_close(layer(x), torch.einsum("ij,njhw->nihw", matrix(layer), x))
    assert_close(layer.inv(x), torch.einsum("ij,njhw->nihw", matrix(layer).inverse(), x))


@KINDS
@pytest.mark.parametrize("channels", [1, 2, 48])
def test_conv1x1_starts_as_a_rotation(channels, factorized):
    layer = Conv1x1(channels, factorized=factorized)
    assert_close(matrix(layer) @ matrix(layer).mT, torch.eye(channels))
    assert_close(
        layer.forward_and_ladj(torch.randn(channels, 2, 2))[1].detach(),
        torch.zeros(()),
        rtol=0,
        atol=1e-10,
    )
    assert channels < 2 or matrix(layer).triu(1).abs().max() > 0.01  # not the identity


def test_conv1x1_of_both_kinds_starts_as_the_same_rotation():
    torch.manual_seed(3)
    plain = matrix(Conv1x1(6, factorized=False))
    torch.manual_seed(3)
    assert_close(matrix(Conv1x1(6, factorized=True)), plain)


def test_conv1x1_factors_cannot_become_singular():
    layer = Conv1x1(3)
    nn.init.normal_(layer.theta.lower, std=10)
    nn.init.normal_(layer.theta.upper, std=10)
    layer.theta.log_diagonal.data.copy_(torch.tensor([-20.0, 3.0, 5.0]))
    assert_close(layer.forward_and_ladj(torch.randn(3, 1, 2))[1].detach(), torch.tensor(2 * -12.0))
    assert_close(torch.linalg.slogdet(matrix(layer))[1].detach(), torch.tensor(-12.0))


def test_conv1x1_uses_only_the_triangles_of_the_factors():
    layer = perturb(Conv1x1(4))
    before = matrix(layer)
    with torch.no_grad():
        layer.theta.lower.add_(torch.ones(4, 4).triu())
        layer.theta.upper.add_(torch.ones(4, 4).tril())
    assert torch.equal(matrix(layer), before)


@KINDS
def test_conv1x1_has_a_matrix_for_each_context(factorized):
    layer = perturb(Conv1x1(3, context_dim=2, factorized=factorized))
    contexts, x = torch.randn(4, 2), torch.randn(4, 3, 2, 5)
    y, ladj = layer.condition(contexts).forward_and_ladj(x)
    for i in range(4):
        weight = matrix(layer, contexts[i])
        assert_close(y[i], torch.einsum("ij,jhw->ihw", weight, x[i]))
        assert_close(ladj[i], 10 * torch.linalg.slogdet(weight)[1])


@KINDS
@pytest.mark.parametrize("context_dim", [None, 2])
def test_conv1x1_is_left_alone_by_autocast(factorized, context_dim):
    layer = perturb(Conv1x1(48, context_dim, factorized), std=0.05).float()
    x = torch.randn(2, 48, 4, 4).float()
    context = None if context_dim is None else torch.randn(2, 2).float()
    outside = layer.forward_and_ladj(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer.forward_and_ladj(x, context)
        back, _ = layer.inverse_and_ladj(inside[0], context)
    assert_close(inside, outside, rtol=0, atol=0)
    assert_close(back, x, rtol=0, atol=1e-4)


@KINDS
def test_conv1x1_computes_bfloat16_input_and_context_in_float32(factorized):
    layer = perturb(Conv1x1(4, 2, factorized)).float()
    x, context = torch.randn(2, 4, 3, 3).bfloat16(), torch.randn(2, 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, ladj = layer.condition(context).forward_and_ladj(x)
    assert y.dtype == ladj.dtype == torch.float32
    assert_close((y, ladj), layer.forward_and_ladj(x.float(), context.float()), rtol=0, atol=0)


@KINDS
def test_conv1x1_of_many_channels_is_exact_in_a_float32_round_trip(factorized):
    layer = perturb(Conv1x1(96, factorized=factorized), std=0.01).float()
    x = torch.randn(2, 96, 4, 4).float()
    y, ladj = layer.forward_and_ladj(x)
    assert_close(layer.inverse_and_ladj(y)[0], x, rtol=0, atol=2e-4)
    assert_close(
        ladj.double(), layer.double().forward_and_ladj(x.double())[1], rtol=1e-5, atol=1e-4
    )


def test_conv1x1_refuses_another_number_of_channels():
    with pytest.raises(
        ValueError, match=r"Conv1x1 expects 4 channels; got 3 in shape \(2, 3, 4, 4\)"
    ):
        Conv1x1(4)(torch.randn(2, 3, 4, 4))
