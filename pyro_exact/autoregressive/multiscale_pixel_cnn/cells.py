"""The cells of 2x2 pixels of an image: the known pixel, and the three groups of a doubling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Row and column in a cell: the pixel of the lower resolution, and the groups in their order.
CELL = ((0, 0), (0, 1), (1, 0), (1, 1))
GROUPS = len(CELL) - 1


def pixels_at(images: Tensor, place: int) -> Tensor:
    """Return the pixel at a place of each cell, (*, H / 2, W / 2)."""
    row, column = CELL[place]
    return images[..., row::2, column::2]


def first_pixels(images: Tensor, count: int) -> Tensor:
    """Return the first pixels of each cell as channels, (N, count C, H / 2, W / 2)."""
    return torch.cat([pixels_at(images, place) for place in range(count)], dim=1)


def interleave(parts: Sequence[Tensor]) -> Tensor:
    """Return an image, (N, K, 2 h, 2 w, P), from the pixels at each place, (N, K, h, w, P)."""
    cells = torch.stack(list(parts)).unflatten(0, (2, 2))  # (row, column, N, K, h, w, P)
    by_pixel = cells.permute(
        2,
        3,
        4,
        0,
        5,
        1,
        6,
    )
    return by_pixel.flatten(4, 5).flatten(2, 3)
