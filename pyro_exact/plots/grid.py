"""Grids of images as a tensor, and checks used before drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import check_finite, check_tensor, printable

LARGEST_PICTURE = 2**26  # pixels
LARGEST_SIDE = 2**15  # pixels
FILL = 1.0  # white, between images
FILL_OF_VECTORS = 0.75  # light grey, because vectors are often rows of black and white


def image_grid(
    images: Tensor,
    columns: int = 8,
    gap: int = 1,
    fill: float = FILL,
) -> Tensor:
    """Lay images out in rows.

    Args:
        images: Images of shape (N, C, H, W), N at least 1.
        columns: Images in each row.
        gap: Empty pixels between two images.
        fill: Value of the empty pixels.

    Returns:
        One image of shape (C, rows (H + gap) - gap, columns (W + gap) - gap).

    Example:
        >>> image_grid(torch.zeros(10, 1, 8, 8), columns=5).shape
        torch.Size([1, 17, 44])
    """
    n, channels, height, width = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)

    whole_height = rows * (height + gap) - gap
    whole_width = columns * (width + gap) - gap
    grid = images.new_full((channels, whole_height, whole_width), fill)

    for i, image in enumerate(images):
        top = (i // columns) * (height + gap)
        left = (i % columns) * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    return grid


def drawable_grid(images: Tensor, columns: int = 8) -> Tensor:
    """Lay images with any channels, or vectors, out as a grey or RGB image.

    When there are 2, 4 or more channels, each channel is a grey tile, and these tiles are below
    each other. A vector, which is a grey image of one row, uses a whole row of the grid;
    vectors that would be in the same row of images are grouped.

    Args:
        images: Images of shape (N, C, H, W), with values in [0, 1].
        columns: Images in each row.

    Returns:
        One image with 1 or 3 channels.
    """
    _, channels, height, _ = images.shape
    if channels == 1 and height == 1:
        return _grid_of_vectors(images, columns)
    if channels in (1, 3):
        return image_grid(images, columns)

    tiles = [image_grid(image.unsqueeze(1), 1) for image in images]
    return image_grid(torch.stack(tiles), columns, gap=3)


def _grid_of_vectors(images: Tensor, columns: int) -> Tensor:
    groups = []
    for group in images.split(columns):
        groups.append(image_grid(group, 1, 1, FILL_OF_VECTORS))

    # The last group may be smaller.
    tallest = groups[0].shape[1]
    whole = [
        F.pad(group, (0, 0, 0, tallest - group.shape[1]), value=FILL_OF_VECTORS) for group in groups
    ]
    return image_grid(torch.stack(whole), 1, 3, FILL_OF_VECTORS)


def check_grid(n: int, shape: Sequence[int], columns: int = 8) -> None:
    """Check that a grid is not too large, before the images are computed.

    Args:
        n: How many images the grid has.
        shape: Shape (C, H, W) of an image.
        columns: Images in each row.

    Raises:
        ValueError: If the grid would be too large even without scaling.
    """
    channels, height, width = shape
    tiles = channels if channels not in (1, 3) else 1
    across = min(columns, n)
    down = -(-n // columns)
    if height == channels == 1:
        across, down = 1, n

    size = across * (width + 3), down * tiles * (height + 3)
    if math.prod(size) > LARGEST_PICTURE or max(size) >= LARGEST_SIDE:
        raise ValueError(
            f"A picture expects at most {LARGEST_PICTURE:,} pixels, and {LARGEST_SIDE:,} on a "
            f"side; {n} images of shape {tuple(shape)} take {size[0]:,} x {size[1]:,}. Lower their "
            "number (--n)."
        )


def check_drawable(owner: str, title: str, images: Tensor, levels: int) -> None:
    """Check that images can be drawn, because clipping would hide a fault of the model.

    Args:
        owner: The function that draws these images.
        title: Name of the images in the figure.
        images: Images of shape (N, C, H, W).
        levels: Levels of a pixel.

    Raises:
        TypeError: If the images are not a tensor.
        ValueError: If there are no images, or an element is NaN or out of range.
    """
    name = f"the images {printable(title)!r}"
    check_tensor(owner, name, images)
    if images.dim() != 4 or images.numel() == 0:
        raise ValueError(
            f"{owner} expects {name} of shape (N, C, H, W), at least one; got "
            f"{tuple(images.shape)}. Reshape them."
        )

    check_finite(owner, name, images, "Look for the layer that made them so")
    lowest = images.min().item()
    highest = images.max().item()
    if lowest < 0 or highest > levels - 1:
        raise ValueError(
            f"{owner} expects {name} with levels from 0 to {levels - 1}; got values from "
            f"{lowest:g} to {highest:g}. Correct the number of levels, or the images."
        )
