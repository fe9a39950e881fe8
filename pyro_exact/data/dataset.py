"""The contract of a data set: three splits, the shape of an event, and the unit of a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

SPLITS = ("train", "valid", "test")

Unit = Literal["bits/dim", "nats"]


class Rows(Protocol):
    """The rows of a split: batches of rows are read using a tensor of indices.

    A `torch.Tensor` satisfies this protocol, and so does an array in a file that is larger than
    memory. The first dimension of ``shape`` is the count of rows.
    """

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


class Dataset(ABC):
    """A data set, split into train, valid and test. Derive from it to train on data of your own.

    `Images` holds pictures, `Table` rows with named columns, and `ArrayDataset` any other arrays.

    Attributes:
        name: Name of the data set in results.
        levels: Values that an element can take, 0, ..., levels - 1; `None` for real elements.
    """

    name: str
    levels: int | None

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of a row, for example (D,) for a vector and (C, H, W) for an image."""

    @property
    def unit(self) -> Unit:
        """Unit of a score: nats of a row. Images override it by bits per dimension."""
        return "nats"

    @abstractmethod
    def split(self, name: str) -> Rows:
        """Return the rows of a split, of shape (N, *event_shape).

        Args:
            name: ``"train"``, ``"valid"`` or ``"test"``.

        Raises:
            ValueError: If there is no such split.
        """

    def labels(self, name: str) -> Tensor | None:
        """Return the classes of the rows of a split, int64 (N,), or `None` without classes.

        Args:
            name: ``"train"``, ``"valid"`` or ``"test"``.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(self, name)
        return None

    def context(self, name: str) -> Tensor | None:
        """Return the contexts of the rows of a split, (N, context_dim), or `None` without contexts.

        A model of p(row | context) is conditioned on these real vectors.

        Args:
            name: ``"train"``, ``"valid"`` or ``"test"``.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(self, name)
        return None

    def describe(self) -> str | None:
        """Return what was inferred when the data were read, in words, or `None`."""
        return None

    def __repr__(self) -> str:
        levels = "" if self.levels is None else f", levels={self.levels}"
        counts = ", ".join(f"{split}={len(self.split(split))}" for split in SPLITS)
        return f"{type(self).__name__}({self.name!r}, shape={self.event_shape}{levels}, {counts})"


def in_memory(rows: Rows) -> Tensor:
    """Return all rows of a split as a tensor."""
    return rows if isinstance(rows, Tensor) else rows[torch.arange(len(rows))]


def check_split(dataset: Dataset, name: str) -> str:
    """Return the name of a split.

    Args:
        dataset: The data set, for the error.
        name: The name.

    Raises:
        ValueError: If it is not ``"train"``, ``"valid"`` or ``"test"``.
    """
    if name not in SPLITS:
        raise ValueError(
            f"{type(dataset).__name__} {dataset.name} expects a split out of {', '.join(SPLITS)}; "
            f"got {name!r}. Use one of them."
        )
    return name
