"""The options of `load`, which are used by every reader of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The place of a data set, and the options used to hold out a validation split.

    Args:
        root: Optional folder of the torchvision data sets.
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
