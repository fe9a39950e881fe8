"""The images of many files: decoded at once when they fit into memory, otherwise batch by batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pyro_exact.data.dataset import Rows
from pyro_exact.data.image_files import Form, Header, decode, read_header, shown_file
from pyro_exact.data.note import note
from pyro_exact.data.options import Options

# Images that take more bytes than this are decoded batch by batch, by worker processes.
MOST_IN_MEMORY = 2**30
MOST_WORKERS = 8

# All images together may take this much more memory than their files, and this many times as much.
SPARE_BYTES = 2**28
LARGEST_RATIO = 100


class Encoded(Protocol):
    """Image files, or their contents, by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Path | bytes: ...


class Names:
    """Paths of files, in an array: worker processes would copy a list of a million objects."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._names = np.array([os.fsencode(file) for file in files])

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Path:
        return Path(os.fsdecode(self._names[index]))


class ImageFiles:
    """Images in files that are decoded when a batch is read.

    Args:
        files: PNG, JPEG, WebP or BMP files of the same size.
        shape: Shape (C, H, W) of an image.
        form: The form in which the files are decoded.
        levels: Levels of a pixel; files of fewer than 256 levels are brought to 0, 1, ...
    """

    dtype = torch.uint8

    def __init__(
        self, files: Encoded, shape: tuple[int, ...], form: Form, levels: int = 256
    ) -> None:
        self._files, self._shape = files, shape
        self._form, self._step = form, 255 // (levels - 1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._shape)

    @property
    def workers(self) -> int:
        """Processes that should decode."""
        return decoding_workers()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the images at some indices, uint8 (B, C, H, W)."""
        batch = np.empty((len(index), *self._shape), np.uint8)
        for place, number in enumerate(index.tolist()):
            file = self._files[number]
            pixels = decode(file, self._form)
            if pixels.shape != self._shape:
                raise _other_size(file, pixels.shape, self._shape, "the other files")
            batch[place] = pixels // self._step
        return torch.from_numpy(batch)


def decoding_workers() -> int:
    """Return how many processes should decode images: one for each core but one, from 1 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(max((cores or 1) - 1, 1), MOST_WORKERS)


class Pixels(NamedTuple):
    """Images of the same size.

    Attributes:
        images: uint8, (N, C, H, W), with one channel if all files are grey, otherwise three.
        levels: Grey levels that the files can distinguish: 2, 4 or 16 if no file has more than 1,
            2 or 4 bits, otherwise 256.
    """

    images: Rows
    levels: int


def read_images(files: Encoded, options: Options, place: str) -> Pixels:
    """Return the images of some files of one size, or brought to one size.

    Args:
        files: PNG, JPEG, WebP or BMP files, at least 1.
        place: The name of their folder, for messages.
        options: The size of the images, and whether files of 16 bits a channel may be cut to 8.

    Raises:
        ValueError: If a file is not a complete, still image of at most 8 bits a channel and 4096 x
            4096 pixels, has another size than the first, or the images take far more memory than
            expected for these files.
    """
    form = Form(side=options.size, fit=options.fit, high_bits=options.levels is not None)
    headers = [read_header(files[number], form) for number in range(len(files))]

    form = form._replace(grey=all(header.grey for header in headers))
    levels = 2 ** max(header.bits for header in headers)

    shape = decode(files[0], form).shape
    _check_total(files, shape, place)
    if options.size is None:
        _check_sizes(files, headers, shape)
    _note_conversions(headers, place)

    rows = ImageFiles(files, shape, form, levels)
    if len(files) * prod(shape) > MOST_IN_MEMORY:
        return Pixels(rows, levels)
    return Pixels(rows[torch.arange(len(files))], levels)


def read_image(file: Path) -> Tensor:
    """Return the pixels of one image file, uint8 (C, H, W), grey or in colour; white is 255.

    Args:
        file: A PNG, JPEG, WebP or BMP file.

    Raises:
        ValueError: As `read_images`.
    """
    form = Form(grey=read_header(file, Form()).grey)
    return torch.from_numpy(decode(file, form).copy())


def _check_total(files: Encoded, shape: tuple[int, ...], place: str) -> None:
    """Raise ValueError if images of the size of the first take too much memory for their files."""
    total = len(files) * prod(shape)
    if total <= SPARE_BYTES:
        return

    file_sizes = sum(_file_size(files[number]) for number in range(len(files)))
    limit = SPARE_BYTES + LARGEST_RATIO * file_sizes
    if total > limit:
        raise ValueError(
            f"{place} expects images that take at most {limit:,} bytes, for files of this size; "
            f"got {len(files)} of {shape[2]}x{shape[1]} pixels. Crop or resize them."
        )


def _file_size(file: Path | bytes) -> int:
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def _check_sizes(files: Encoded, headers: Sequence[Header], shape: tuple[int, ...]) -> None:
    """Raise ValueError if a file has another size than the first, upright or turned."""
    for number, header in enumerate(headers):
        if {header.width, header.height} != {*shape[1:]}:
            got = (1, header.height, header.width)
            raise _other_size(files[number], got, shape, shown_file(files[0]))


def _other_size(
    file: Path | bytes, got: tuple[int, ...], expected: tuple[int, ...], others: str
) -> ValueError:
    return ValueError(
        f"{shown_file(file)} expects {expected[2]}x{expected[1]} pixels (width x height), as in "
        f"{Path(others).name}; got {got[2]}x{got[1]}. Crop or resize the images to one size, or "
        f"pass a size (--size)."
    )


def _note_conversions(headers: Sequence[Header], place: str) -> None:
    """Say how many files lose something: transparency, or the colours of a printer."""
    counts = Counter(header.alpha * "alpha" or header.cmyk * "cmyk" for header in headers)
    if counts["alpha"]:
        note(
            f"{place}: {counts['alpha']} of {len(headers)} files may have transparent pixels, "
            f"which are shown on white."
        )
    if counts["cmyk"]:
        note(
            f"{place}: {counts['cmyk']} of {len(headers)} files have the colours of a printer "
            f"(CMYK), which are converted to RGB without a colour profile."
        )
