"""Read an image file from any source: still, complete and of a bounded size, or refused."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable
from pyro_exact.data.options import Fit

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")

# No other parser of Pillow is used, whatever the name of a file is.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

LARGEST_IMAGE = 2**24  # pixels of an image
LARGEST_SIDE = 2**12  # pixels of a side to which images are brought

# Pillow's names for pixels of 8 bits or fewer, and for grey pixels of 16 bits.
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_PALETTE = ("P", "PA")
_GREY_16 = ("I;16", "I;16B", "I;16L")
_ALPHA = ("LA", "La", "RGBA", "RGBa", "PA")

_PNG = b"\x89PNG\r\n\x1a\n"

# Positions in a PNG file: the bits of a channel, and the type of the pixels, in which 0 is grey.
_DEPTH, _KIND = 24, 25


class Form(NamedTuple):
    """The form in which image files are decoded.

    Attributes:
        grey: Whether images have one channel; otherwise they have three.
        side: Side in pixels to which images are brought; `None` leaves the size.
        fit: The way in which images get this size; see `Options`.
        high_bits: Whether files of 16 bits a channel are cut to the high 8 bits, or refused.
    """

    grey: bool = False
    side: int | None = None
    fit: Fit = "crop"
    high_bits: bool = False


class Header(NamedTuple):
    """The properties of an image file that its data set depends on.

    Attributes:
        width: Pixels in a row of the file.
        height: Rows of the file.
        grey: Whether all pixels are grey.
        bits: Bits of a channel: 1, 2, 4 or 8.
        alpha: Whether pixels may be transparent.
        cmyk: Whether the colours are those of a printer.
    """

    width: int
    height: int
    grey: bool
    bits: int
    alpha: bool
    cmyk: bool


def read_header(file: Path | bytes, form: Form) -> Header:
    """Return the properties of an image file, of which only palettes need the pixels.

    Args:
        file: A PNG, JPEG, WebP or BMP file, or its contents.
        form: The form in which it is decoded later.

    Raises:
        ValueError: If the file is no still image of at most 4096 x 4096 pixels, or has more than 8
            bits a channel and these are not cut.
    """

    def header(picture: Image, start: bytes) -> Header:
        _check(picture, start, form)
        grey, bits = _depth(picture, start)
        if form.side not in (None, picture.width) or form.side not in (None, picture.height):
            bits = 8  # scaling makes new levels

        alpha = picture.mode in _ALPHA or "transparency" in picture.info
        if alpha:
            bits = 8
        return Header(*picture.size, grey, bits, alpha, picture.mode == "CMYK")

    return _opened(file, header)


def decode(file: Path | bytes, form: Form) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (1, H, W) or (3, H, W); white is 255.

    The EXIF orientation is applied. Transparent pixels are shown on white. Colours of a printer
    (CMYK) are converted without a colour profile.

    Args:
        file: A PNG, JPEG, WebP or BMP file, or its contents.
        form: The form of the pixels.

    Raises:
        ValueError: As `read_header`, or if the file is not complete.
    """

    def verify(picture: Image, start: bytes) -> None:
        _check(picture, start, form)
        picture.verify()  # the checksums of a PNG, which decoding does not verify

    def pixels(picture: Image, start: bytes) -> NDArray[np.uint8]:
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(_in_8_bits(picture))
        fitted = _fitted(_opaque(upright).convert("L" if form.grey else "RGB"), form)
        array = np.array(fitted, np.uint8)
        return array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)

    _opened(file, verify)
    return _opened(file, pixels)


def shown_file(file: Path | bytes) -> str:
    """Return the name of an image file for an error."""
    return "An image" if isinstance(file, bytes) else printable(file)


def _opened(file: Path | bytes, use: Callable[[Image, bytes], Result]) -> Result:
    """Call a function of an open image file and its first bytes; all errors name the file."""
    from PIL import Image

    name = shown_file(file)
    if not isinstance(file, bytes) and not os.path.isfile(file):
        raise ValueError(
            f"{name} expects a regular file; got a pipe, a device or a dead link. Remove it."
        )

    try:
        with _stream(file) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images, which are refused here
            start = stream.read(_KIND + 1)

            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as picture:
                return use(picture, start)
    except _RefusedError as error:
        raise ValueError(f"{name} expects {error}") from None
    except Exception as error:
        # A damaged file may fail anywhere in Pillow, with almost any error.
        raise ValueError(
            f"{name} expects an image ({', '.join(FORMATS)}); got a file that is damaged or of "
            f"another kind. Repair or remove it."
        ) from error


def _stream(file: Path | bytes) -> IO[bytes]:
    return io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")


class _RefusedError(Exception):
    """An image that is complete but cannot be used; this text is the end of the message."""


def _check(picture: Image, start: bytes, form: Form) -> None:
    width, height = picture.size
    if width * height > LARGEST_IMAGE:
        raise _RefusedError(
            f"at most {LARGEST_IMAGE:,} pixels; got {width}x{height}. Crop or resize the image."
        )

    grey_16 = picture.mode in _GREY_16
    if not grey_16 and picture.mode not in _GREY + _COLOUR + _PALETTE:
        raise _RefusedError(
            f"8 bits a channel; got Pillow mode {picture.mode!r}. Convert the image to 8 bits."
        )

    # Pillow would cut colours of 16 bits to 8 bits without a word.
    if not form.high_bits and (grey_16 or (_is_png(start) and start[_DEPTH] == 16)):
        raise _RefusedError(
            "8 bits a channel; got 16. Convert the image to 8 bits, or keep the high 8 bits with "
            "levels=256 (--levels 256)."
        )

    # A photograph with a preview (MPO) has several frames too; the first one is the image.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise _RefusedError(
            f"a still image; got an animation of {frames} frames. Save its frames as files."
        )


def _depth(picture: Image, start: bytes) -> tuple[bool, int]:
    """Return whether an image is grey, and the bits of a channel; Pillow expands 2 or 4 bits."""
    if picture.mode not in _PALETTE:
        is_grey = picture.mode in _GREY + _GREY_16
        few = _is_png(start) and start[_KIND] == 0
        bits = 1 if picture.mode == "1" else start[_DEPTH] if few else 8
        return is_grey, min(bits, 8)

    colours = np.array(_opaque(picture).convert("RGB"))
    if (colours != colours[..., :1]).any():
        return False, 8
    return True, 1 if np.isin(colours, (0, 255)).all() else 8


def _in_8_bits(picture: Image) -> Image:
    """Return an image with the high 8 bits of each grey pixel of 16 bits."""
    from PIL import Image

    if picture.mode not in _GREY_16:
        return picture
    cut = Image.fromarray((np.array(picture) >> 8).astype(np.uint8))
    cut.info = picture.info  # it holds the EXIF orientation
    return cut


def _opaque(picture: Image) -> Image:
    """Return an image with its transparent pixels on white."""
    from PIL import Image

    if picture.mode not in _ALPHA and "transparency" not in picture.info:
        return picture

    layered = picture.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layered)


def _fitted(picture: Image, form: Form) -> Image:
    """Return an image of the side of a form."""
    from PIL import Image, ImageOps

    if form.side is None or picture.size == (form.side, form.side):
        return picture

    size, smooth = (form.side, form.side), Image.Resampling.BICUBIC
    if form.fit == "crop":
        return ImageOps.fit(picture, size, smooth)
    if form.fit == "pad":
        return ImageOps.pad(picture, size, smooth)
    return picture.resize(size, smooth)


def _is_png(start: bytes) -> bool:
    return start.startswith(_PNG)
