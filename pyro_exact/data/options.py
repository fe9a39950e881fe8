"""The options of `load`, which are used by every reader of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyro_exact.data.columns import Column


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
    """

    root: Path | None
    download: bool
    fraction: float
    seed: int
    columns: Mapping[str, Column] = field(default_factory=dict)
    complete: bool = False

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
