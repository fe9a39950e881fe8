"""One split of a data set while it is put together, and how a validation split is held out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.data.images import Images

ALIASES = {"val": "valid", "validation": "valid"}  # names that others give to a split


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, if they have any.

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
        """Return two parts, chosen by a permutation that ``seed`` fixes: the kept images, and those held out.

        Each part has at least one image.

        Args:
            fraction: Share of the images that is held out.
            seed: Which images these are.
            subject: What the images are called in an error.

        Raises:
            ValueError: If there are fewer than two images.
        """
        total = len(self.images)
        if total < 2:
            raise ValueError(
                f"{subject} expects at least 2 images, because one is held out for validation; got {total}. "
                f"Add images, or a validation split."
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
    """Put splits together; without ``valid``, hold ``fraction`` of ``train`` out for it."""
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
