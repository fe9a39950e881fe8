"""The shifted convolutions of PixelCNN++."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    Pointwise,
    ShiftedConv2d,
    ShiftedConvTranspose2d,
)

pytestmark = pytest.mark.usefixtures("double")


def moved(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


@pytest.mark.parametrize(
    ("kernel_size", "centred"), [((2, 3), True), ((2, 2), False), ((1, 3), True), ((2, 1), True)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_convolution_is_the_plain_sum(kernel_size, centred, stride):
    layer, x = moved(ShiftedConv2d(2, 3, kernel_size, centred, stride)), torch.randn(2, 4, 6, 2)
    rows, columns = kernel_size
    left = columns // 2 if centred else columns - 1
    weight = layer.magnitude[:, None, None, None] * F.normalize(
        layer.direction.flatten(1), dim=1
    ).view_as(layer.direction)
    y = layer(x)
    assert y.shape == (2, 4 // stride, 6 // stride, 3)
    for i in range(4 // stride):
        for j in range(6 // stride):
            total = layer.bias.expand(2, 3)
            for k in range(rows):
                for m in range(columns):
                    row, column = stride * i + k - rows + 1, stride * j + m - left
                    if row >= 0 and 0 <= column < 6:
                        total = total + x[:, row, column] @ weight[:, :, k, m].T
            assert_close(y[:, i, j], total)


@pytest.mark.parametrize("kernel_size", [(2, 3), (2, 2)])
def test_shifted_convolution_transposed_doubles_each_row(kernel_size):
    layer, x = moved(ShiftedConvTranspose2d(2, 3, kernel_size)), torch.randn(2, 3, 4, 2)
    weight, y = layer.weight(), layer(x)
    assert y.shape == (2, 6, 8, 3)
    beside = kernel_size[1] == 3
    for i in range(6):
        for j in range(8):
            total = layer.bias.expand(2, 3)
            for m in range(kernel_size[1]):
                source = j + beside - m
                if source % 2 == 0 and 0 <= source < 8:
                    total = total + x[:, i // 2, source // 2] @ weight[:, :, i % 2, m].T
            assert_close(y[:, i, j], total)


def test_pointwise_layer_of_several_maps_is_that_of_one():
    layer, maps = moved(Pointwise(5, 3)), (torch.randn(2, 4, 4, 2), torch.randn(2, 4, 4, 3))
    assert_close(layer(*maps), layer(torch.cat(maps, dim=-1)))
