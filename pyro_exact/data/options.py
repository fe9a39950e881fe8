"""The options of `load`, which are used by every reader of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pyro_exact.data.columns import Column

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")


@dataclass(frozen=True)
class Options:
    """The place of a data set, and the options used to hold out a validation split.

    Args:
        root: Optional folder of the torchvision data sets.
        download: If true, download missing files.
        fraction: Fraction of the training images to hold out, for data without a validation split.
        seed: Seed of the choice of these images.
        columns: Declared columns of a table; see `Column`.
        complete: If true, the table has these columns alone, in this order.
        size: Side in pixels to which image files are brought; `None` (the default) takes files of
            the same size as they are.
        fit: How a file gets this size: ``"crop"`` scales the shorter side and keeps the middle,
            ``"pad"`` scales the longer side and adds black, ``"stretch"`` scales both sides.
        levels: Levels that the caller asks for; readers use it for files of 16 bits alone.
    """

    root: Path | None
    download: bool
    fraction: float
    seed: int
    columns: Mapping[str, Column] = field(default_factory=dict)
    complete: bool = False
    size: int | None = None
    fit: Fit = "crop"
    levels: int | None = None

    def need_root(self, name: str) -> Path:
        """Return the root; raise ValueError if there is none.

        Args:
            name: The data set, for the error.
        """
        if self.root is None:
            raise ValueError(
                f"{name} expects root, the folder that holds the data; got none. Pass root "
                f"(--data-root)."
            )
        return self.root
