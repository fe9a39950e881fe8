"""Rows in files that are larger than memory: a batch maps the parts of the files that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.dataset import Rows


class Mapped:
    """Rows of a file, which are read batch by batch.

    It is used for arrays that do not fit into memory. Each batch maps the file anew and releases it
    after copying its rows: so pages that were read do not add up, an object of this class can be
    copied to worker processes, and a file that has been cut short gives an error.

    Args:
        path: The file.
        offset: Bytes before the first row; rows stand one after another.
        shape: Shape (N, *row_shape).
        dtype: The dtype in the file; the byte order may differ from that of this machine.

    Raises:
        ValueError: If the file is shorter than its rows, when they are read.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.path = path
        self.offset = offset
        self.shape = shape

        # The types in the file and in memory, which may differ in the order of bytes.
        self._stored = dtype
        self._native = dtype.newbyteorder("=")
        self.dtype = torch.from_numpy(np.empty(0, self._native)).dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows at some indices, (B, *row_shape)."""
        try:
            rows = np.memmap(self.path, self._stored, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{printable(self.path)} expects rows of shape {self.shape}, as it had when it was "
                f"opened; got a file that is gone or shorter. Leave data alone during a run."
            ) from error

        batch = rows[index.numpy()]
        return torch.from_numpy(np.array(batch, self._native))


class Joined:
    """The rows of several sources, one after another.

    Args:
        parts: Sources with rows of the same shape and dtype, at least one.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = tuple(parts)
        self.dtype = parts[0].dtype

        counts = torch.tensor([len(part) for part in parts])
        self._ends = counts.cumsum(0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows at some indices, (B, *row_shape)."""
        batch = torch.empty(len(index), *self.shape[1:], dtype=self.dtype)
        owners = torch.searchsorted(self._ends, index, right=True)

        for owner in owners.unique().tolist():
            part = self.parts[owner]
            start = int(self._ends[owner]) - len(part)
            mine = owners == owner
            batch[mine] = part[index[mine] - start]
        return batch
