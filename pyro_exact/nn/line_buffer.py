"""Line buffers: the last rows of a feature map, from which a convolution computes its next column.

The columns are tensors and never numbers, so that a step can be captured in a CUDA graph and
replayed at any of them.

Lines have the layout (batch, rows, left + width + right, channels), with zeros outside the map, and
are written in place. A view of some channels, ``lines[..., :8]``, is written as lines of these
channels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def start(
    like: Tensor, batch: int, rows: int, width: int, channels: int, left: int, right: int
) -> Tensor:
    """Return the lines before the first row, with ``left`` and ``right`` columns of padding, typed as ``like``."""
    return like.new_zeros(batch, rows, left + width + right, channels)


def next_row(lines: Tensor) -> None:
    """Begin a row: the oldest one leaves, the others move up, and the last one is zero."""
    lines[:, :-1] = lines[:, 1:].clone()
    lines[:, -1] = 0


def write(lines: Tensor, column: Tensor, values: Tensor) -> None:
    """Write the values of a column of the last row.

    Args:
        lines: The lines.
        column: Its place, (1), counted from the padding on the left.
        values: (batch, channels).
    """
    lines[:, -1].index_copy_(1, column, values.unsqueeze(1))


def window(lines: Tensor, places: Tensor) -> Tensor:
    """Return what a kernel sees, (batch, places * channels), ready to be multiplied by a matrix.

    Args:
        lines: The lines.
        places: Numbers of the columns that it sees, (places), counted row by row through the padded
            lines: `taps` of the kernel, plus the column at which it stands.
    """
    return lines.flatten(1, 2).index_select(1, places).flatten(1)


def taps(lines: Tensor, rows: int, columns: int, last: int) -> Tensor:
    """Return the places that a kernel sees at column 0.

    Args:
        lines: The lines.
        rows: Rows of the kernel; its last one lies on the last of the lines.
        columns: Columns of the kernel, from column 0 on.
        last: How many of them it sees in its last row.
    """
    height, width = lines.shape[1:3]
    places = torch.arange(height * width, device=lines.device).view(height, width)[
        height - rows :, :columns
    ]
    return places.flatten()[: (rows - 1) * columns + last]


def so_far(pixel: Tensor, values: Tensor, channels: slice) -> Tensor:
    """Write the channels of one colour into the pixel at which a step stands, (batch, channels), and return them all.

    With one colour they are all there are.
    """
    if values.shape == pixel.shape:
        return values
    pixel[:, channels] = values
    return pixel
