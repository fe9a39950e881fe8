"""The convolutions of PixelCNN++: kernels end at the row of the pixel, weights are normalised.

Maps are (N, H, W, channels), the layout in which a convolution is fastest. In a step they are some
columns of one row, (N, columns, channels).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn import line_buffer
from pyro_exact.nn.weight_norm import WeightNormed


class ShiftedWeights(NamedTuple):
    """The weights of a `ShiftedConv2d`, arranged for steps.

    Attributes:
        weight: (positions * in_channels, out_channels).
        bias: Can be added to (N, columns, out_channels).
        offsets: Positions that the kernel sees at column 0.
        left: Columns of padding on the left of the line buffer.
        stride: Columns between two outputs.
    """

    weight: Tensor
    bias: Tensor
    offsets: Tensor
    left: int
    stride: int

    def __call__(self, lines: Tensor, columns: Tensor) -> Tensor:
        """Return some columns of the output row, (N, columns, out_channels)."""
        positions = (self.stride * columns.unsqueeze(1) + self.offsets).flatten()
        window = line_buffer.gather_window(lines, positions)
        window = window.view(len(lines), len(columns), len(self.weight))
        return window @ self.weight + self.bias

    def write(
        self,
        lines: Tensor,
        columns: Tensor,
        new_row: bool,
        values: Tensor,
    ) -> None:
        """Write columns of the input, (N, columns, in_channels), into the last or a new row."""
        if new_row:
            line_buffer.next_row(lines)
        lines[:, -1].index_copy_(1, columns + self.left, values)


class TransposedWeights(NamedTuple):
    """The weights of a `ShiftedConvTranspose2d`, for steps."""

    weight: Tensor
    bias: Tensor
    padding: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        """Return two rows, (N, 2, 2 columns, out_channels), using a pixel or a whole row."""
        return _transposed(x.unsqueeze(1), self.weight, self.bias, self.padding)


class PointwiseWeights(NamedTuple):
    """The weights of a `Pointwise` convolution, for steps."""

    weight: Tensor
    bias: Tensor

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return some columns of a row, (N, columns, out_channels)."""
        return F.linear(torch.cat(inputs, dim=-1), self.weight, self.bias)


class ShiftedConv2d(WeightNormed):
    r"""A convolution that sees the row of the pixel and the rows above this row.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, whose last row is that of the pixel.
        centred: If true, the kernel reaches as far to the right as to the left; otherwise it ends
            at the pixel.
        stride: Rows and columns between two outputs.
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
        y = F.conv2d(padded.permute(0, 3, 1, 2), weight, bias, self.stride)
        return y.permute(0, 2, 3, 1)

    def empty_lines(self, batch: int, width: int) -> Tensor:
        """Return a line buffer for the input, before the first row."""
        channels = self.direction.shape[1]
        return line_buffer.empty_lines(
            self.bias,
            batch,
            self.rows,
            width,
            channels,
            self.left,
            self.right,
        )

    def step_weights(self, lines: Tensor) -> ShiftedWeights:
        """Return the weights for steps that read a line buffer."""
        matrix = self.weight().permute(2, 3, 1, 0).flatten(0, 2).contiguous()
        offsets = line_buffer.kernel_offsets(lines, self.rows, self.columns, self.columns)
        return ShiftedWeights(
            matrix,
            self.bias,
            offsets,
            self.left,
            self.stride,
        )


class ShiftedConvTranspose2d(WeightNormed):
    r"""A transposed convolution that doubles the sides of a map, and sees no rows below.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: (2, 3), which sees a column on either side, or (2, 2), which sees a single
            pixel.
        gain: See `WeightNormed`.

    Shape:
        - x: (N, H, W, in_channels); y: (N, 2 H, 2 W, out_channels).

    Reference:
        As `ShiftedConv2d` (`down_shifted_deconv2d` and `down_right_shifted_deconv2d`).
    """

    @property
    def _padding(self) -> tuple[int, int]:
        return 0, self.columns // 2 if self.columns % 2 else 0

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        return _transposed(inputs[0], weight, bias, self._padding)

    def step_weights(self) -> TransposedWeights:
        """Return the weights for steps."""
        return TransposedWeights(self.weight(), self.bias, self._padding)


class Pointwise(WeightNormed):
    r"""A 1x1 convolution of a map, or of several maps that are concatenated.

    Shape:
        - x: (N, H, W, in_channels), or several maps with that many channels together; y: (N, H, W,
          out_channels).
    """

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        parts = weight.split([x.shape[-1] for x in inputs], dim=1)
        first, *rest = (
            F.conv2d(x.permute(0, 3, 1, 2), part, bias if i == 0 else None)
            for i, (x, part) in enumerate(zip(inputs, parts, strict=True))
        )
        return sum(rest, first).permute(0, 2, 3, 1)

    def step_weights(self) -> PointwiseWeights:
        """Return the weights for steps."""
        return PointwiseWeights(self.weight()[:, :, 0, 0], self.bias)


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    padding: tuple[int, int],
) -> Tensor:
    """Return the transposed convolution of stride 2, without rows below the doubled rows."""
    maps = x.permute(0, 3, 1, 2)
    y = F.conv_transpose2d(
        maps,
        weight.transpose(0, 1),
        bias,
        2,
        padding,
        padding,
    )
    return y.permute(0, 2, 3, 1)
