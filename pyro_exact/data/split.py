"""A split of a data set while it is assembled, and a validation split held out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.data.dataset import Rows
from pyro_exact.data.images import Images
from pyro_exact.data.options import Options
from pyro_exact.data.shuffle import Shuffle, order_of
from pyro_exact.data.views import selected

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

    images: Rows
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
        order = order_of(total, torch.Generator().manual_seed(seed), seed)
        return self._take(order, held, total - held), self._take(order, 0, held)

    def _take(self, order: Tensor | Shuffle, start: int, count: int) -> Split:
        images = selected(self.images, order, start, count)
        if self.labels is None:
            return Split(images)
        return Split(images, self.labels[order[torch.arange(start, start + count)]])


def held_out_splits(split: Split, test_fraction: float, options: Options) -> dict[str, Split]:
    """Return three splits of data that come without splits.

    Args:
        split: All images.
        test_fraction: Fraction of the images that becomes test, whatever the seed.
        options: The fraction of all images that becomes valid, and the seed of this choice.
    """
    rest, test = split.hold_out(test_fraction, seed=0)
    train, valid = rest.hold_out(options.fraction / (1 - test_fraction), options.seed)
    return {"train": train, "valid": valid, "test": test}


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
