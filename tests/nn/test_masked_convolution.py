"""Masked convolutions, and the lines from which they compute column by column."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.nn import MaskedConv2d, line_buffer
from pyro_exact.nn.masked_convolution import groups

pytestmark = pytest.mark.usefixtures("double")

KERNELS = [(1, 1), (1, 3), (3, 3), (1, 7), (7, 7), (5, 3)]

CASES = [
    (kernel, colours, strict)
    for kernel in KERNELS
    for colours in (1, 3)
    for strict in (False, True)
]


def convolution(kernel, colours, strict):
    return MaskedConv2d(groups(5, colours), groups(7, colours), kernel, strict)


@pytest.mark.parametrize(("kernel", "colours", "strict"), CASES, ids=str)
def test_masked_convolution_is_a_whole_kernel_of_which_the_later_part_is_zero(
    kernel, colours, strict
):
    layer, x = convolution(kernel, colours, strict), torch.randn(2, 5, 4, 6)
    height, width = kernel
    whole = torch.zeros(7, 5, height, width)
    whole[:, :, : height // 2 + 1, : layer.columns] = layer.weight.detach()
    whole[:, :, height // 2, width // 2 + 1 :] = 0
    for o, out_group in enumerate(groups(7, colours)):
        for i, in_group in enumerate(groups(5, colours)):
            seen = in_group < out_group if strict else in_group <= out_group
            whole[o, i, height // 2, width // 2] *= seen
    expected = F.conv2d(x, whole, layer.bias, padding=(height // 2, width // 2))
    assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "colours", "strict"), CASES, ids=str)
def test_masked_convolution_column_by_column_gives_what_forward_gives(kernel, colours, strict):
    layer, x = convolution(kernel, colours, strict), torch.randn(2, 5, 4, 6)
    lines = line_buffer.empty_lines(x, 2, layer.rows, 6, 5, layer.left, layer.right)
    offsets, y = layer.kernel_offsets(lines), torch.full((2, 7, 4, 6), torch.nan)
    for row in range(4):
        line_buffer.next_row(lines)
        for column in torch.arange(6).split(1):
            for group in range(colours):
                mine = (groups(5, colours) == group).nonzero().flatten()
                values = x[:, mine, row].index_select(2, column).squeeze(2)
                if not strict:
                    line_buffer.write_column(
                        lines[..., mine[0] : mine[-1] + 1], column + layer.left, values
                    )
                seen = line_buffer.gather_window(lines, offsets + column)
                y[:, layer.out_groups == group, row, column] = layer.step_weights(group)(
                    seen
                ).detach()
                if strict:
                    line_buffer.write_column(
                        lines[..., mine[0] : mine[-1] + 1], column + layer.left, values
                    )
    assert_close(y, layer(x), rtol=1e-12, atol=1e-12)


def test_masked_convolution_keeps_hidden_weights_without_gradient():
    layer = convolution((3, 3), 3, False)
    before = layer.weight.detach().clone()
    layer(torch.randn(2, 5, 4, 6)).square().sum().backward()
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.weight.grad != 0, layer.mask)


def test_masked_convolution_kernel_has_a_centre_and_a_colour_has_channels():
    with pytest.raises(ValueError, match="an odd side of the kernel; got 2"):
        MaskedConv2d(groups(1, 1), groups(4, 1), (3, 2))
    with pytest.raises(ValueError, match="at least 3 channels, one for each colour; got 2"):
        groups(2, 3)
