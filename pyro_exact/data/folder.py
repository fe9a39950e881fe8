"""Data sets in a folder of image files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_exact.data.images import SPLITS, Images
from pyro_exact.data.split import Split, assemble

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TEST_FRACTION = 0.1

# Pillow's names for 8-bit (or smaller) pixels. It would clip 16-bit ones ("I;16") to 8 bits without a word.
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def folder(path: Path, fraction: float, seed: int) -> Images:
    """Read the 8-bit images (png, jpg, jpeg, webp, bmp) in a folder and the folders below it, sorted by path.

    Subfolders `train` and `test`, and perhaps `valid`, are the splits. Without them a tenth of the images is test,
    whatever the seed, `fraction` of them is valid and the others are train. If every file is grey, images have one
    channel, else three; transparency is dropped. Names that start with a dot are skipped.

    Args:
        path: the folder.
        fraction: share of the images that becomes valid (of those in `train`, if there are subfolders without
            `valid`).
        seed: which images these are.

    Raises:
        ValueError: no images, too few of them, images of several sizes or not of 8 bits, a file that is not a whole
            image, or only some of the subfolders.
    """
    name = path.resolve().name
    found = [split for split in SPLITS if (path / split).is_dir()]
    if not found:
        train, test = Split(read(_files(path))).hold_out(TEST_FRACTION, seed=0)
        return assemble(name, train, None, test, 256, fraction / (1 - TEST_FRACTION), seed)
    if not {"train", "test"} <= set(found):
        raise ValueError(
            f"{path}: expected subfolders train and test (valid is optional), or none of them; "
            f"found {' and '.join(found)}. Add or rename subfolders."
        )
    files = {split: _files(path / split) for split in found}
    # Read together, as size and number of channels are those of all splits.
    images = torch.split(read([file for split in found for file in files[split]]), [len(files[s]) for s in found])
    splits = {split: Split(part) for split, part in zip(found, images, strict=True)}
    return assemble(name, splits["train"], splits.get("valid"), splits["test"], 256, fraction, seed)


def _files(path: Path) -> list[Path]:
    files = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not files:
        raise ValueError(f"{path}: expected images ({', '.join(SUFFIXES)}); found none. Give a folder that holds them.")
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def read(files: list[Path]) -> Tensor:
    """Return the images in files, which have one size, as uint8 (N, C, H, W).

    Raises:
        ValueError: a file is not a whole image of 8 bits, or of another size than the first.
    """
    from PIL import Image

    # The headers alone tell size and mode, so that decoding goes straight into one tensor of the right shape.
    headers = [_header(file) for file in files]
    size, first = headers[0][1], files[0]
    for file, (_, other) in zip(files, headers, strict=True):
        if other != size:
            raise ValueError(
                f"{file}: expected {size[0]}x{size[1]} pixels (width x height), as in {first.name}; "
                f"got {other[0]}x{other[1]}. Crop or resize the images to one size."
            )
    mode, channels = ("L", 1) if all(grey for grey, _ in headers) else ("RGB", 3)
    images = torch.empty(len(files), channels, size[1], size[0], dtype=torch.uint8)
    for image, file in zip(images, files, strict=True):
        try:
            with Image.open(file) as picture:
                pixels = np.array(picture.convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(file) from error
        image.copy_(torch.from_numpy(pixels).view(size[1], size[0], channels).permute(2, 0, 1))
    return images


def _header(file: Path) -> tuple[bool, tuple[int, int]]:
    """Whether the image is grey, and its width and height."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            mode, size = picture.mode, picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file) from error
    if mode not in _GREY + _COLOUR:
        raise ValueError(f"{file}: expected 8 bits a channel; got Pillow mode {mode!r}. Convert the image to 8 bits.")
    return mode in _GREY, size


def _unreadable(file: Path) -> ValueError:
    return ValueError(f"{file}: expected an image; the file is damaged or of another kind. Repair or remove it.")
