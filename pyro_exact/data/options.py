"""The options of `load`, which every reader of a data set gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Where a data set is, and how its validation split is held out.

    Args:
        root: The folder of the torchvision data sets, if one was given.
        download: If true, download missing files.
        fraction: Fraction of the training images to hold out, for data without a validation split.
        seed: Seed of the choice of these images.
    """

    root: Path | None
    download: bool
    fraction: float
    seed: int

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
