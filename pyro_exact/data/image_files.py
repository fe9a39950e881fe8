"""Read image files from any source: 8-bit, still, complete and of a bounded size, or refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.checks import printable

if TYPE_CHECKING:
    from PIL.Image import Image

# No other parser of Pillow is used, whatever the name of a file is.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

LARGEST_IMAGE = 2**24  # pixels of an image

# All images together may take this much more memory than their files, and this many times as much.
SPARE_BYTES = 2**28
LARGEST_RATIO = 100

# Pillow's names for pixels of 8 bits or fewer.
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_PALETTE = ("P", "PA")

_PNG = b"\x89PNG\r\n\x1a\n"

# Positions in a PNG file: the bits of a channel, and the type of the pixels, in which 0 is grey.
_DEPTH, _KIND = 24, 25


class Pixels(NamedTuple):
    """Images of the same size.

    Attributes:
        images: uint8, (N, C, H, W), with one channel if all files are grey, otherwise three;
            white is 255.
        levels: Grey levels that the files can distinguish: 2, 4 or 16 if no file has more
            than 1, 2 or 4 bits, otherwise 256.
    """

    images: Tensor
    levels: int

    def in_levels(self) -> Tensor:
        """Return the images as whole levels from 0 to ``levels - 1``."""
        return self.images if self.levels == 256 else self.images // (255 // (self.levels - 1))


def read_images(files: Sequence[Path]) -> Pixels:
    """Read images of the same size, using the EXIF orientation, without transparency.

    Args:
        files: PNG, JPEG, WebP or BMP files, at least 1.

    Raises:
        ValueError: If a file is not a complete, still image of at most 8 bits a channel and 4096 x
            4096 pixels, has another size than the first, or the images take far more memory than
            expected for these files.
    """
    images, bits = torch.empty(0), 1
    for index, file in enumerate(files):
        array, depth = _read(file)
        height, width, *colours = array.shape
        bits = max(bits, depth)

        if index == 0:
            _check_total(files, array)
            images = torch.empty(len(files), 3 if colours else 1, height, width, dtype=torch.uint8)
        if (height, width) != tuple(images.shape[-2:]):
            raise ValueError(
                f"{printable(file)} expects {images.shape[-1]}x{images.shape[-2]} pixels (width x "
                f"height), as in {printable(files[0].name)}; got {width}x{height}. Crop or resize "
                f"the images to one size."
            )

        # At the first file in colour, the grey images before it get three channels.
        if colours and images.shape[1] == 1:
            images = images.repeat(1, 3, 1, 1)

        images[index] = torch.from_numpy(array).view(height, width, -1).movedim(-1, 0)
    return Pixels(images, 2**bits)


def _check_total(files: Sequence[Path], first: NDArray[np.uint8]) -> None:
    """Raise ValueError if images of the size of the first take too much memory for their files."""
    total = len(files) * first.size
    file_sizes = sum(file.stat().st_size for file in files if os.path.isfile(file))
    limit = SPARE_BYTES + LARGEST_RATIO * file_sizes
    if total > limit:
        raise ValueError(
            f"{printable(files[0].parent)} expects images that take at most {limit:,} bytes, for "
            f"files of this size; got {len(files)} of {first.shape[1]}x{first.shape[0]} pixels. "
            f"Crop or resize them."
        )


class _Decoded(NamedTuple):
    """An image, (H, W) or (H, W, 3), and the bits of a channel."""

    array: NDArray[np.uint8]
    bits: int


def _read(file: Path) -> _Decoded:
    """Check the header of an image file, and decode it."""
    from PIL import Image

    if not os.path.isfile(file):
        raise ValueError(
            f"{printable(file)} expects a regular file; got a pipe, a device or a dead link. "
            f"Remove it."
        )

    try:
        with file.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images, which are refused here
            start = stream.read(_KIND + 1)

            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as picture:
                _check(picture, start)
                picture.verify()  # the checksums of a PNG, which decoding does not verify

            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as picture:
                return _decoded(picture, start)
    except _RefusedError as error:
        raise ValueError(f"{printable(file)} expects {error}") from None
    except Exception as error:
        # A damaged file may fail anywhere in Pillow, with almost any error.
        raise ValueError(
            f"{printable(file)} expects an image ({', '.join(FORMATS)}); got a file that is "
            f"damaged or of another kind. Repair or remove it."
        ) from error


class _RefusedError(Exception):
    """An image that is complete but cannot be used; this text is the end of the message."""


def _check(picture: Image, start: bytes) -> None:
    width, height = picture.size
    if width * height > LARGEST_IMAGE:
        raise _RefusedError(
            f"at most {LARGEST_IMAGE:,} pixels; got {width}x{height}. Crop or resize the image."
        )
    if picture.mode not in _GREY + _COLOUR + _PALETTE:
        raise _RefusedError(
            f"8 bits a channel; got Pillow mode {picture.mode!r}. Convert the image to 8 bits."
        )
    if _is_png(start) and start[_DEPTH] == 16:  # Pillow would cut it to 8 bits
        raise _RefusedError("8 bits a channel; got 16. Convert the image to 8 bits.")

    # A photograph with a preview (MPO) has several frames too; the first one is the image.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise _RefusedError(
            f"a still image; got an animation of {frames} frames. Save its frames as files."
        )


def _decoded(picture: Image, start: bytes) -> _Decoded:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if picture.mode not in _PALETTE:
        grey = picture.mode in _GREY
        return _Decoded(np.array(upright.convert("L" if grey else "RGB")), _bits(picture, start))

    colours = np.array(upright.convert("RGB"))
    if (colours != colours[..., :1]).any():
        return _Decoded(colours, 8)
    return _Decoded(colours[..., 0], 1 if np.isin(colours, (0, 255)).all() else 8)


def _bits(picture: Image, start: bytes) -> int:
    """Return the bits of a channel in the file; Pillow expands 2 or 4 bits to 8."""
    if picture.mode == "1":
        return 1
    return start[_DEPTH] if _is_png(start) and start[_KIND] == 0 else 8


def _is_png(start: bytes) -> bool:
    return start.startswith(_PNG)
