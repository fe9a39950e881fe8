"""ScaledConv2d: its edge, its start, its initialisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.nn import (
    ScaledConv2d,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_scaled_conv_edge_is_a_channel_that_marks_the_padding(kernel_size):
    layer = perturb(ScaledConv2d(2, 4, kernel_size))
    x = torch.randn(5, 2, 6, 7)
    pad = [kernel_size // 2] * 4
    marked = torch.cat((F.pad(x, pad), F.pad(torch.zeros(5, 1, 6, 7), pad, value=1.0)), dim=1)
    weight = torch.cat((layer.weight, layer.edge_weight), dim=1)
    expected = (F.conv2d(marked, weight) + layer.bias[:, None, None]) * (3 * layer.log_scale).exp()[
        :, None, None
    ]
    assert_close(layer(x), expected)


def test_scaled_conv_without_the_edge_is_a_convolution_with_an_output_scale():
    layer = perturb(ScaledConv2d(2, 4, edge=False, log_scale_factor=2.0))
    x = torch.randn(5, 2, 6, 7)
    expected = (
        F.conv2d(x, layer.weight, layer.bias, padding=1)
        * (2 * layer.log_scale).exp()[:, None, None]
    )
    assert layer.edge_weight is None
    assert_close(layer(x), expected)


def test_scaled_conv_pointwise_has_no_edge():
    assert ScaledConv2d(2, 4, 1).edge_weight is None


def test_scaled_conv_starts_as_glow_does():
    layer = ScaledConv2d(64, 64)
    weights = torch.cat((layer.weight, layer.edge_weight), dim=1)
    assert abs(weights.std().item() - 0.05) < 0.001
    assert not layer.bias.any()
    assert not layer.log_scale.any()
    assert not ScaledConv2d(2, 4, zero=True)(torch.randn(1, 2, 3, 3)).any()


def test_scaled_conv_initialize_gives_every_channel_zero_mean_and_unit_variance():
    layer = perturb(ScaledConv2d(2, 4))
    y = layer.initialize(3 + torch.randn(8, 2, 5, 5))
    assert_close(y.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-12)
    assert_close(y.std((0, 2, 3), correction=0), torch.ones(4))
    assert not y.requires_grad


def test_scaled_conv_initialize_leaves_a_zero_convolution_alone():
    layer = ScaledConv2d(2, 4, zero=True)
    assert not layer.initialize(torch.randn(8, 2, 5, 5)).any()
    assert not any(p.any() for p in layer.parameters())


def test_scaled_conv_initialize_survives_constant_input():
    y = ScaledConv2d(2, 4, edge=False).initialize(torch.zeros(8, 2, 5, 5))
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 4, 2), "expects an odd kernel_size; got 2"),
        ((0, 4), "got 0 and 4"),
        ((4, 0), "got 4 and 0"),
    ],
)
def test_scaled_conv_refuses_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        ScaledConv2d(*sizes)
