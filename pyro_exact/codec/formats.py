"""Sizes of images in lossless formats of other programs, for comparison."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

PER_MOSAIC = 100  # images; the header of a file is larger than a small image


def lossless_sizes(images: Tensor, levels: int = 256) -> dict[str, int]:
    """Return the bytes of images as PNG, lossless WebP and lossless JPEG XL, by format.

    Images are laid out in mosaics of 100, because the header of a file is larger than a small
    image. The levels are written as they are; PNG uses 1 bit for each pixel of two levels.

    Args:
        images: uint8, (N, C, H, W).
        levels: Levels of an element.

    Returns:
        The sizes; JPEG XL only if the package ``imagecodecs`` is installed. Empty for images that
        have neither 1 nor 3 channels.
    """
    if images.shape[1] not in (1, 3):
        return {}

    sizes: dict[str, int] = {}
    for group in images.split(PER_MOSAIC):
        mosaic = _mosaic(group)
        for name, size in _sizes(mosaic, levels).items():
            sizes[name] = sizes.get(name, 0) + size
    return sizes


def _mosaic(images: Tensor) -> NDArray[np.uint8]:
    """Lay images out in a nearly square mosaic without gaps, (H, W) or (H, W, 3)."""
    n, channels, height, width = images.shape
    widest = int(n**0.5)
    columns = next(c for c in range(widest, 0, -1) if n % c == 0)

    rows = images.view(-1, columns, channels, height, width)
    grid = rows.permute(0, 3, 1, 4, 2)  # row, y, column, x, channel
    pixels = grid.reshape(-1, columns * width, channels)
    mosaic: NDArray[np.uint8] = pixels.cpu().numpy()
    return mosaic[..., 0] if channels == 1 else mosaic


def _sizes(mosaic: NDArray[np.uint8], levels: int) -> dict[str, int]:
    """Return the size of a mosaic in each format."""
    from PIL import Image

    scaled = mosaic if levels == 256 else mosaic * (255 // (levels - 1))
    image = Image.fromarray(scaled)
    rgb = image.convert("RGB")
    bits = image.convert("1") if levels == 2 and mosaic.ndim == 2 else image

    found = {
        "PNG": _saved(bits, format="PNG", optimize=True),
        "WebP": _saved(rgb, format="WEBP", lossless=True, quality=100, method=6),
    }
    if importlib.util.find_spec("imagecodecs") is not None:
        import imagecodecs

        encoded = imagecodecs.jpegxl_encode(scaled, lossless=True, effort=7)
        found["JPEG XL"] = len(encoded)
    return found


def _saved(image: Any, **options: Any) -> int:
    """Return the bytes of an image that Pillow saves."""
    file = io.BytesIO()
    image.save(file, **options)
    return file.tell()
