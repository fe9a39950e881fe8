"""Rows that are read from other rows: a selection of them, or a function of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_tensor
from pyro_exact.data.dataset import Rows
from pyro_exact.data.shuffle import Shuffle

PIECE_BYTES = 2**24  # bytes of the rows that are read together


class Selected:
    """Some of the rows of other rows: positions ``start``, ``start + 1``, ... of an order.

    Args:
        rows: The other rows.
        order: A permutation of all rows, or a tensor of indices.
        start: The first position that is selected.
        count: How many positions are selected.
    """

    def __init__(self, rows: Rows, order: Tensor | Shuffle, start: int, count: int) -> None:
        self.rows = rows
        self.order = order
        self.start = start
        self.count = count

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.rows.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.rows.dtype

    @property
    def workers(self) -> int:
        """Processes that should read batches."""
        return workers(self.rows)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.rows[self.order[self.start + index]]


class Changed:
    """A function of other rows, computed for each batch.

    Args:
        rows: The other rows.
        change: A function from a batch to a batch with as many rows; one that can be pickled.
    """

    def __init__(self, rows: Rows, change: Callable[[Tensor], Tensor]) -> None:
        self.rows = rows
        self.change = change

        # A row of zeros shows the shape and the dtype after the change.
        zeros = torch.zeros(1, *rows.shape[1:], dtype=rows.dtype)
        sample = change(zeros)
        self.shape = (len(rows), *sample.shape[1:])
        self.dtype = sample.dtype

    @property
    def workers(self) -> int:
        """Processes that should read batches."""
        return workers(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.change(self.rows[index])


def check_rows(owner: str, name: str, rows: object) -> None:
    """Raise TypeError unless a value is a dense tensor, or other rows with a dtype of torch.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        rows: The value.
    """
    if isinstance(rows, Tensor) or not isinstance(getattr(rows, "dtype", None), torch.dtype):
        check_tensor(owner, name, rows)


def workers(rows: Rows) -> int:
    """Return how many processes should read batches; 0 where a batch takes no time."""
    return int(getattr(rows, "workers", 0))


def changed(rows: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """Return a function of rows: of a tensor at once, and of other rows batch by batch."""
    return change(rows) if isinstance(rows, Tensor) else Changed(rows, change)


def selected(rows: Rows, order: Tensor | Shuffle, start: int, count: int) -> Rows:
    """Return some rows: of a tensor as a tensor, and of other rows as a `Selected`."""
    if isinstance(rows, Tensor):
        return rows[order[torch.arange(start, start + count)]]
    return Selected(rows, order, start, count)


def pieces(rows: Rows) -> Iterator[Tensor]:
    """Yield all rows in order, in pieces of about 16 MB, so that a check needs no more memory."""
    row_bytes = prod(rows.shape[1:]) * rows.dtype.itemsize
    together = max(PIECE_BYTES // max(row_bytes, 1), 1)

    for start in range(0, len(rows), together):
        end = min(start + together, len(rows))
        yield rows[torch.arange(start, end)]


def highest(rows: Rows, stop: int | None = None) -> int:
    """Return the highest integer of rows, or an integer of at least ``stop`` as soon as found."""
    found = 0
    for piece in pieces(rows):
        found = max(found, int(piece.max()))
        if stop is not None and found >= stop:
            return found
    return found


def in_memory(rows: Rows) -> Tensor:
    """Return all rows as a tensor."""
    return rows if isinstance(rows, Tensor) else torch.cat([*pieces(rows)])


def turned(rows: Tensor) -> Tensor:
    """Return images with channels last, (N, H, W, C), as (N, C, H, W)."""
    return rows.movedim(-1, 1).contiguous()


def with_channel(rows: Tensor) -> Tensor:
    """Return grey images (N, H, W) as (N, 1, H, W)."""
    return rows.unsqueeze(1)
