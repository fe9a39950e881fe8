"""A split of a data set while it is assembled, and a validation split held out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.data.images import Images

ALIASES = {"val": "valid", "validation": "valid"}  # other common names of a split


@dataclass(frozen=True, eq=False)
class Split:
    """Images with optional labels.

    Args:
        images: uint8 pixel levels.
        labels: int64 classes, or ``None``.

    Shape:
        - images: (N, C, H, W).
        - labels: (N,).
    """

    images: Tensor
    labels: Tensor | None = None

    def hold_out(
        self, fraction: float, seed: int, subject: str = "hold_out"
    ) -> tuple[Split, Split]:
        """Return the images that are kept and the images that are held out, at least 1 each.

        Args:
            fraction: Fraction of the images to hold out.
            seed: Seed of the permutation that chooses these images.
            subject: Name of the images in an error.

        Raises:
            ValueError: If there are fewer than two images.
        """
        total = len(self.images)
        if total < 2:
            raise ValueError(
                f"{subject} expects at least 2 images, because one is held out for validation; got "
                f"{total}. Add images, or a validation split."
            )

        held = min(max(round(fraction * total), 1), total - 1)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        return self._take(order[held:]), self._take(order[:held])

    def _take(self, index: Tensor) -> Split:
        return Split(self.images[index], None if self.labels is None else self.labels[index])


def assemble(
    name: str,
    train: Split,
    valid: Split | None,
    test: Split,
    levels: int,
    fraction: float,
    seed: int,
) -> Images:
    """Return a data set of three splits.

    Args:
        name: Name of the data set.
        train: The training split.
        valid: The validation split; `None` holds it out of ``train``.
        test: The test split.
        levels: Levels of a pixel.
        fraction: Fraction of ``train`` to hold out.
        seed: Seed of the choice of these images.
    """
    if valid is None:
        train, valid = train.hold_out(fraction, seed, f"{name}: train")
    return Images(
        name,
        train.images,
        valid.images,
        test.images,
        levels,
        train.labels,
        valid.labels,
        test.labels,
    )
