"""The images of torchvision data sets that are larger than memory, with the crops of the papers."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_exact.data.dataset import Rows
from pyro_exact.data.image_rows import MOST_IN_MEMORY, decoding_workers

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 64
CELEBA_CROP = 148
LSUN_SHORT_SIDE = 96

Crop = Callable[["Image", int], Tensor]


class VisionRows:
    """Images of a torchvision data set, which are decoded when a batch is read.

    Args:
        read: A function that opens the data set, of pairs (image, target). Each process calls it,
            because an open database must not be shared with worker processes.
        crop: A function from an image and its number to a uint8 tensor.
        shape: Shape (C, H, W) of the tensor.
    """

    dtype = torch.uint8

    def __init__(self, read: Callable[[], Any], crop: Crop, shape: tuple[int, int, int]) -> None:
        self._read = read
        self._crop = crop
        self._process = os.getpid()
        self._pairs = read()
        self.shape = (len(self._pairs), *shape)

    @property
    def workers(self) -> int:
        """Processes that should decode."""
        return decoding_workers()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the images at some indices, uint8 (B, C, H, W)."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._pairs = self._read()

        # Allocated first: a list of all images would need twice the memory.
        batch = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        for place, number in enumerate(index.tolist()):
            picture, _target = self._pairs[number]
            batch[place] = self._crop(picture, number)
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None, "_pairs": None}


def decoded(read: Callable[[], Any], crop: Crop, shape: tuple[int, int, int]) -> Rows:
    """Return the images of a torchvision data set, in memory if they take at most 1 GB.

    Args:
        read: See `VisionRows`.
        crop: See `VisionRows`.
        shape: See `VisionRows`.
    """
    rows = VisionRows(read, crop, shape)
    if prod(rows.shape) > MOST_IN_MEMORY:
        return rows
    return rows[torch.arange(len(rows))]


def central_crop(picture: Image, number: int) -> Tensor:
    """Return the central 148x148 pixels of an image, resized to 64x64, for CelebA."""
    from torchvision.transforms import functional

    middle = functional.center_crop(picture, [CELEBA_CROP, CELEBA_CROP])
    resized = functional.resize(middle, [SIZE, SIZE])
    return functional.pil_to_tensor(resized)


def random_crop(picture: Image, number: int) -> Tensor:
    """Return 64x64 pixels of an image whose shorter side is resized to 96, for LSUN.

    The place is uniform, and a function of the number of the image.
    """
    from torchvision.transforms import functional

    resized = functional.resize(picture, LSUN_SHORT_SIDE)
    width, height = resized.size

    random = np.random.default_rng(number)
    top = int(random.integers(height - SIZE + 1))
    left = int(random.integers(width - SIZE + 1))

    cropped = functional.crop(resized, top, left, SIZE, SIZE)
    return functional.pil_to_tensor(cropped)
