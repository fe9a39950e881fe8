"""A data set of images: three splits of one shape, as whole pixel levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """A data set of images, split into train, valid and test.

    A pixel is a whole number of levels in {0, ..., levels - 1}; nothing is scaled, so bits per dimension need no
    correction.

    Args:
        name: what results are filed under.
        train: training images, uint8.
        valid: validation images, uint8.
        test: test images, uint8.
        levels: how many values a pixel can take, from 2 (binary) to 256 (8-bit).
        train_labels: classes of the training images, int64, or None.
        valid_labels: classes of the validation images, int64, or None.
        test_labels: classes of the test images, int64, or None.

    Shape:
        - train, valid, test: (N, C, H, W), each with its own N of at least 1 and all with the same C, H, W.
        - labels: (N,), with the N of their split.

    Raises:
        TypeError: a split is not a uint8 tensor, or labels are not an int64 tensor.
        ValueError: a split is empty, has another shape than the others or a pixel outside the levels, or labels do
            not match their images.

    Example:
        >>> x = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
        >>> images = Images("zeros", train=x, valid=x, test=x, levels=2)
        >>> images
        Images('zeros', shape=(1, 8, 8), levels=2, train=3, valid=3, test=3)
    """

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor
    levels: int
    train_labels: Tensor | None = None
    valid_labels: Tensor | None = None
    test_labels: Tensor | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise ValueError(f"{self.name}: expected levels from 2 to 256; got {self.levels}. uint8 holds no others.")
        for split in SPLITS:
            self._check_images(split)
            self._check_labels(split)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        _, channels, height, width = self.train.shape
        return channels, height, width

    def split(self, name: str) -> Tensor:
        """Images of the split called `name`, uint8 (N, C, H, W).

        Raises:
            ValueError: `name` is not "train", "valid" or "test".
        """
        images: Tensor = getattr(self, self._known(name))
        return images

    def labels(self, name: str) -> Tensor | None:
        """Labels of the split called `name`, int64 (N,), or None where the data set has none.

        Raises:
            ValueError: `name` is not "train", "valid" or "test".
        """
        labels: Tensor | None = getattr(self, f"{self._known(name)}_labels")
        return labels

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(self.split(split))}" for split in SPLITS)
        return f"Images({self.name!r}, shape={self.shape}, levels={self.levels}, {counts})"

    def _known(self, name: str) -> str:
        if name not in SPLITS:
            raise ValueError(
                f"{self.name}: expected a split out of {', '.join(SPLITS)}; got {name!r}. Name one of them."
            )
        return name

    def _check_images(self, split: str) -> None:
        images, subject = self.split(split), f"{self.name}: {split} images"
        if not isinstance(images, Tensor):
            raise TypeError(f"{subject}: expected a uint8 tensor; got {type(images).__name__}. Use torch.as_tensor.")
        if images.dtype != torch.uint8:
            raise TypeError(
                f"{subject}: expected uint8 pixel levels; got {images.dtype}. Give the integers of the image file: "
                "models scale them themselves."
            )
        if images.ndim != 4:
            raise ValueError(
                f"{subject}: expected shape (N, C, H, W); got {tuple(images.shape)}. Grey images have C = 1."
            )
        if images.numel() == 0:
            raise ValueError(f"{subject}: expected at least one image; got shape {tuple(images.shape)}.")
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"{subject}: expected images of shape {self.shape}, as in train; got {tuple(images.shape[1:])}. "
                "Crop or resize them to one size."
            )
        if (highest := int(images.max())) >= self.levels:
            raise ValueError(
                f"{subject}: expected pixels from 0 to {self.levels - 1} ({self.levels} levels); got {highest}. "
                "Give the right number of levels."
            )

    def _check_labels(self, split: str) -> None:
        labels, subject = self.labels(split), f"{self.name}: {split} labels"
        if labels is None:
            return
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
            got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
            raise TypeError(f"{subject}: expected an int64 tensor; got {got}. Use labels.long().")
        expected = (len(self.split(split)),)
        if tuple(labels.shape) != expected:
            raise ValueError(
                f"{subject}: expected shape {expected}, one label an image; got {tuple(labels.shape)}. "
                "Give the labels of these images."
            )
