"""Convolutions of PixelCNN++: kernels that end at the row of the pixel, with weight normalisation, and their steps.

Maps are (N, H, W, channels), in which a convolution is fastest. In a step they are some columns of
one row, (N, columns, channels).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn import line_buffer
from pyro_exact.nn.weight_norm import WeightNormed


class Prepared(NamedTuple):
    """Weights for steps, (inputs, outputs), a bias that can be added to (N, columns, outputs), and what is seen."""

    weight: Tensor
    bias: Tensor
    places: Tensor


class ShiftedConv2d(WeightNormed):
    r"""A convolution that sees the row of the pixel and those above it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, whose last row is that of the pixel.
        centred: Whether the kernel reaches as far to the right as to the left, or ends at the
            pixel.
        stride: Rows and columns from one output to the next.
        gain: See `WeightNormed`.

    Shape:
        - x: (N, H, W, in_channels); y: (N, H / stride, W / stride, out_channels).

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, official code (`down_shifted_conv2d`
        and `down_right_shifted_conv2d`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        centred: bool,
        stride: int = 1,
        gain: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, gain)
        self.right = self.columns // 2 if centred else 0
        self.left = self.columns - 1 - self.right
        self.stride = check_size("ShiftedConv2d", "stride", stride, most=LARGEST_COUNT)

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        padded = F.pad(inputs[0], (0, 0, self.left, self.right, self.rows - 1, 0))
        return F.conv2d(padded.permute(0, 3, 1, 2), weight, bias, self.stride).permute(0, 2, 3, 1)

    def start(self, batch: int, width: int) -> Tensor:
        """Return lines for the input, before the first row."""
        channels = self.direction.shape[1]
        return line_buffer.start(
            self.bias, batch, self.rows, width, channels, self.left, self.right
        )

    def prepare(self, lines: Tensor) -> Prepared:
        """Return what `step` needs."""
        matrix = self.weight().permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        return Prepared(
            matrix, self.bias, line_buffer.taps(lines, self.rows, self.columns, self.columns)
        )

    def step(self, prepared: Prepared, lines: Tensor, columns: Tensor) -> Tensor:
        """Return some columns of the row that the lines end with, (N, columns, out_channels)."""
        places = (self.stride * columns.unsqueeze(1) + prepared.places).flatten()
        seen = line_buffer.window(lines, places).view(
            len(lines), len(columns), len(prepared.weight)
        )
        return seen @ prepared.weight + prepared.bias


class ShiftedConvTranspose2d(WeightNormed):
    r"""A transposed convolution that doubles the map, and sees no row below the one that it doubles.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: (2, 3), which sees a column on either side, or (2, 2), which sees one pixel.
        gain: See `WeightNormed`.

    Shape:
        - x: (N, H, W, in_channels); y: (N, 2 H, 2 W, out_channels).

    Reference:
        As `ShiftedConv2d` (`down_shifted_deconv2d` and `down_right_shifted_deconv2d`).
    """

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        beside = 0, self.columns // 2 if self.columns % 2 else 0
        x = inputs[0].permute(0, 3, 1, 2)
        return F.conv_transpose2d(x, weight.transpose(0, 1), bias, 2, beside, beside).permute(
            0, 2, 3, 1
        )

    def prepare(self) -> tuple[Tensor, Tensor]:
        """Return what `step` needs."""
        return self.weight(), self.bias

    def step(self, prepared: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        """Return two rows, (N, 2, 2 columns, out_channels), from one pixel, or from all columns of a row."""
        return self._map(*prepared, x.unsqueeze(1))


class Pointwise(WeightNormed):
    r"""A 1x1 convolution of one map, or of several maps as if they were one.

    Shape:
        - x: (N, H, W, in_channels), or several that have as many channels together; y: (N, H, W,
          out_channels).
    """

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        parts = weight.split([x.shape[-1] for x in inputs], dim=1)
        first, *rest = (
            F.conv2d(x.permute(0, 3, 1, 2), part, bias if i == 0 else None)
            for i, (x, part) in enumerate(zip(inputs, parts, strict=True))
        )
        return sum(rest, first).permute(0, 2, 3, 1)

    def prepare(self) -> tuple[Tensor, Tensor]:
        """Return what `step` needs."""
        return self.weight()[:, :, 0, 0], self.bias

    def step(self, prepared: tuple[Tensor, Tensor], *inputs: Tensor) -> Tensor:
        """Return some columns of a row, (N, columns, out_channels)."""
        return F.linear(torch.cat(inputs, dim=-1), *prepared)
