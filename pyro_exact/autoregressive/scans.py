"""Orders of the pixels of an image that keep neighbours together."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyro_exact.checks import check_sizes


def scans(shape: Sequence[int]) -> list[list[int]]:
    """Return the eight scans of an image: by rows or by columns, each from either end.

    In each scan every pixel but the first follows a neighbour. The raster order comes first; the
    scans come in opposite pairs.

    Args:
        shape: Shape of the image, of one channel: (H, W) or (1, H, W).

    Returns:
        Eight permutations of the indices of the pixels, which are read row by row.

    Raises:
        ValueError: On another shape.

    Example:
        >>> scans((2, 2))[:3]
        [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]]
    """
    shape = check_sizes("scans", "shape", shape)
    *channels, height, width = shape if len(shape) > 1 else (0, 0, 0)
    if channels not in ([], [1]) or min(height, width) < 1:
        raise ValueError(
            f"scans expects the shape (H, W) or (1, H, W) of an image; got {shape}. Use a single "
            "channel."
        )
    image = torch.arange(height * width).view(height, width)
    starts = [one.flip(corner) for corner in ((), 1) for one in (image, image.T)]
    return [
        order.tolist() for start in starts for order in (start.flatten(), start.flatten().flip(0))
    ]
