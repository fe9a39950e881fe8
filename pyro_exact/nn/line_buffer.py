"""Line buffers: the last rows of a feature map, used to compute the next column.

A line buffer has the layout (batch, rows, left + width + right, channels), with zeros outside the
map, and is written in place. A view of some channels, ``lines[..., :8]``, can be used as the line
buffer of these channels.

Columns are tensors and never Python integers, so that a CUDA graph can record a step and replay it
at any column.
"""

from __future__ import annotations

import torch
from torch import Tensor


def empty_lines(
    like: Tensor,
    batch: int,
    rows: int,
    width: int,
    channels: int,
    left: int,
    right: int,
) -> Tensor:
    """Return the line buffer before the first row.

    Args:
        like: A tensor with the dtype and the device of the buffer.
        batch: Images.
        rows: Rows to keep.
        width: Width of the map.
        channels: Channels of the map.
        left: Columns of padding on the left.
        right: Columns of padding on the right.
    """
    return like.new_zeros(batch, rows, left + width + right, channels)


def next_row(lines: Tensor) -> None:
    """Start a row: drop the oldest row, move the other rows up, and set the last row to zero."""
    lines[:, :-1] = lines[:, 1:].clone()
    lines[:, -1] = 0


def write_column(lines: Tensor, column: Tensor, values: Tensor) -> None:
    """Write a column of the last row.

    Args:
        lines: The line buffer.
        column: Index of the column, (1), counted from the first column of padding.
        values: (batch, channels).
    """
    lines[:, -1].index_copy_(1, column, values.unsqueeze(1))


def kernel_offsets(lines: Tensor, rows: int, columns: int, last: int) -> Tensor:
    """Return the positions in a line buffer that a kernel sees at column 0, for `gather_window`.

    Args:
        lines: The line buffer.
        rows: Rows of the kernel. The last row of the kernel lies on the last row of the buffer.
        columns: Columns of the kernel, from column 0 on.
        last: Columns that the kernel sees in its last row.
    """
    height, width = lines.shape[1:3]
    positions = torch.arange(height * width, device=lines.device).view(height, width)

    seen = positions[height - rows :, :columns].flatten()

    return seen[: (rows - 1) * columns + last]


def gather_window(lines: Tensor, positions: Tensor) -> Tensor:
    """Return the window of a kernel, (batch, positions * channels), ready for a matrix product.

    Args:
        lines: The line buffer.
        positions: Positions, counted row by row through the padded buffer: the `kernel_offsets`,
            plus the column of the kernel.
    """
    return lines.flatten(1, 2).index_select(1, positions).flatten(1)


def update_pixel(pixel: Tensor, values: Tensor, channels: slice) -> Tensor:
    """Write the channels of a colour into the current pixel, and return all channels.

    Args:
        pixel: All channels of the current pixel, (batch, channels).
        values: Channels of a colour. When these are all channels, nothing is written.
        channels: The corresponding channels of the pixel.
    """
    if values.shape == pixel.shape:
        return values

    pixel[:, channels] = values
    return pixel
