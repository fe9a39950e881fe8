"""A data set of images: three splits of the same shape, as whole pixel levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_size, check_tensor
from pyro_exact.data.dataset import SPLITS, Dataset, Rows, Unit, check_split
from pyro_exact.data.views import check_rows, highest


def is_channels_last(shape: Sequence[int]) -> bool:
    """Return whether an image of this shape has 1, 3 or 4 channels in the last dimension.

    The image must have at least 5 x 5 pixels: otherwise (H, W, C) and (C, H, W) are ambiguous.
    """
    first, second, last = shape
    return last in (1, 3, 4) and first > 4 and second > 4


@dataclass(frozen=True, eq=False, repr=False)
class Images(Dataset):
    """A data set of images, split into train, valid and test.

    This type of data set is used to train a recipe. A pixel is an integer level in {0, ..., levels
    - 1}; nothing is scaled, so bits per dimension need no correction.

    Args:
        name: Name of the data set in results.
        train: Training images, uint8: a tensor, or images in files that are read batch by batch.
        valid: Validation images, of the same kind.
        test: Test images, of the same kind.
        levels: Values that a pixel can take, from 2 (binary) to 256 (8-bit).
        train_labels: Classes of the training images, int64, or ``None``.
        valid_labels: Classes of the validation images, int64, or ``None``.
        test_labels: Classes of the test images, int64, or ``None``.

    Shape:
        - train, valid, test: (N, C, H, W), with the same C, H, W; N may differ and is at least 1.
        - labels: (N,), with the N of their split.

    Raises:
        TypeError: If a split is not of uint8, or labels are not an int64 tensor.
        ValueError: If a split is empty, shapes differ, channels come last, a pixel is outside the
            levels, or labels do not match the images or are negative.

    Example:
        >>> x = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
        >>> images = Images("zeros", train=x, valid=x, test=x, levels=2)
        >>> images
        Images('zeros', shape=(1, 8, 8), levels=2, train=3, valid=3, test=3)
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    levels: int
    train_labels: Tensor | None = None
    valid_labels: Tensor | None = None
    test_labels: Tensor | None = None

    def __post_init__(self) -> None:
        check_size(f"Images {self.name}", "levels", self.levels, 2, 256)
        for split in SPLITS:
            self._check_images(split)
            self._check_labels(split)

        if is_channels_last(self.shape):
            raise ValueError(
                f"Images {self.name} expects images of shape (N, C, H, W); got {self.shape}, which "
                f"would be {self.shape[0]} channels. Turn them with x.movedim(-1, 1)."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        _, channels, height, width = tuple(self.train.shape)
        return channels, height, width

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image, as `shape`."""
        return self.shape

    @property
    def unit(self) -> Unit:
        """Unit of a score: bits per dimension."""
        return "bits/dim"

    def split(self, name: str) -> Rows:
        """Return the images of the split called ``name``, uint8 (N, C, H, W).

        Raises:
            ValueError: If ``name`` is not "train", "valid" or "test".
        """
        images: Rows = getattr(self, check_split(self, name))
        return images

    def labels(self, name: str) -> Tensor | None:
        """Return the labels of the split called ``name``, int64 (N,), or ``None`` if it has none.

        Raises:
            ValueError: If ``name`` is not "train", "valid" or "test".
        """
        labels: Tensor | None = getattr(self, f"{check_split(self, name)}_labels")
        return labels

    def _check_images(self, split: str) -> None:
        owner, name = f"Images {self.name}", f"{split} images"
        images = self.split(split)
        check_rows(owner, name, images)
        if images.dtype != torch.uint8:
            raise TypeError(
                f"{owner} expects {name} of uint8 pixel levels; got {images.dtype}. Pass the "
                f"integers of the image file: models scale the pixels."
            )

        if len(images.shape) != 4:
            raise ValueError(
                f"{owner} expects {name} of shape (N, C, H, W); got {tuple(images.shape)}. Grey "
                f"images have C = 1."
            )
        if prod(images.shape) == 0:
            raise ValueError(
                f"{owner} expects {name}, at least one; got an empty batch of shape "
                f"{tuple(images.shape)}. Add images."
            )
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"{owner} expects {name} of shape {self.shape}, as in train; got "
                f"{tuple(images.shape[1:])}. Crop or resize them to one size."
            )

        # A byte is always below 256, so that images in files need not be read.
        if self.levels < 256 and (found := highest(images)) >= self.levels:
            raise ValueError(
                f"{owner} expects {name} with pixels from 0 to {self.levels - 1} ({self.levels} "
                f"levels); got {found}. Correct the number of levels."
            )

    def _check_labels(self, split: str) -> None:
        owner, name = f"Images {self.name}", f"{split} labels"
        if self.labels(split) is None:
            return

        labels = check_tensor(owner, name, self.labels(split))
        if labels.dtype != torch.int64:
            raise TypeError(
                f"{owner} expects {name} of int64; got {labels.dtype}. Convert them with "
                f"labels.long()."
            )

        expected = (len(self.split(split)),)
        if tuple(labels.shape) != expected:
            raise ValueError(
                f"{owner} expects {name} of shape {expected}, one for each image; got "
                f"{tuple(labels.shape)}. Pass the labels of these images."
            )
        if (lowest := int(labels.min())) < 0:
            raise ValueError(
                f"{owner} expects {name} from 0 on; got {lowest}. Number the classes 0, 1, ..."
            )
