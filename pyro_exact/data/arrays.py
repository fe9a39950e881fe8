"""Data sets of arrays of any shape, and the data set of whatever a user passes to `fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.checks import check_finite, check_number, check_size, check_tensor
from pyro_exact.data.dataset import SPLITS, Dataset, Rows, check_split
from pyro_exact.data.images import Images

# A split of a data set as a user has it.
Array = Tensor | NDArray[Any]
Data = Dataset | Array | Sequence[Array]

_LARGEST_LEVELS = 2**31


@dataclass(frozen=True, eq=False, repr=False)
class ArrayDataset(Dataset):
    """A data set of arrays of any shape, split into train, valid and test.

    Use it for rows with labels or contexts, and for splits of your own; `as_dataset` makes one of a
    single array.

    Args:
        name: Name of the data set in results.
        train: Training rows.
        valid: Validation rows.
        test: Test rows; `None` if there are none.
        levels: Values that an integer element can take; `None` (the default) for real elements.
        labels_of: Optional classes of the rows of each split, int64 (N,).
        context_of: Optional contexts of the rows of each split, (N, context_dim).

    Shape:
        - train, valid, test: (N, *event_shape); N may differ and is at least 1.

    Raises:
        ValueError: If a split is empty, or event shapes, or counts of rows, differ.

    Example:
        >>> x = torch.randn(30, 5)
        >>> ArrayDataset("noise", train=x[:20], valid=x[20:25], test=x[25:])
        ArrayDataset('noise', shape=(5,), train=20, valid=5, test=5)
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows | None = None
    levels: int | None = None
    labels_of: Mapping[str, Tensor] = field(default_factory=dict)
    context_of: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in SPLITS:
            if getattr(self, name) is not None:
                self._check_split(name)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.train.shape[1:])

    def split(self, name: str) -> Rows:
        rows: Rows | None = getattr(self, check_split(self, name))
        if rows is None:
            raise ValueError(
                f"{self.name} has no {name} split. Pass three splits: (train, valid, test)."
            )
        return rows

    def labels(self, name: str) -> Tensor | None:
        return self.labels_of.get(check_split(self, name))

    def context(self, name: str) -> Tensor | None:
        return self.context_of.get(check_split(self, name))

    def __repr__(self) -> str:
        levels = "" if self.levels is None else f", levels={self.levels}"
        present = [name for name in SPLITS if getattr(self, name) is not None]
        counts = ", ".join(f"{name}={len(self.split(name))}" for name in present)
        return f"{type(self).__name__}({self.name!r}, shape={self.event_shape}{levels}, {counts})"

    def _check_split(self, name: str) -> None:
        rows = self.split(name)
        if len(rows.shape) == 0 or len(rows) == 0:
            raise ValueError(
                f"{self.name} expects {name} rows, at least one; got shape {tuple(rows.shape)}. "
                f"Add rows."
            )
        if tuple(rows.shape[1:]) != self.event_shape:
            raise ValueError(
                f"{self.name} expects {name} rows of shape {self.event_shape}, as in train; got "
                f"{tuple(rows.shape[1:])}. Bring them to one shape."
            )
        for kind, beside in (("labels", self.labels_of), ("contexts", self.context_of)):
            if name in beside and len(beside[name]) != len(rows):
                raise ValueError(
                    f"{self.name} expects {len(rows)} {kind} of {name}, one for each row; "
                    f"got {len(beside[name])}. Pass the {kind} of these rows."
                )


def as_dataset(
    data: Data,
    name: str = "data",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Return a data set of a tensor, an array, or arrays that are split already.

    `pyro_exact.train.fit` calls it. Floats become tensors of the default dtype of torch. Integers
    are levels 0, 1, ...; uint8 arrays of shape (N, C, H, W) become `Images`.

    Args:
        data: A tensor or array, of which parts are held out, chosen by the seed; a pair (train,
            valid) or a triple (train, valid, test); or a `Dataset`, which is returned.
        name: Name of the data set in results.
        valid_fraction: Fraction of the rows of an array to hold out for validation.
        test_fraction: Fraction of these rows to hold out for the test, whatever the seed.
        seed: Seed of the choice of the validation rows.

    Raises:
        TypeError: If the data are of another type.
        ValueError: If there are too few rows, an element is NaN or infinite, an integer is
            negative, or the shapes differ.

    Example:
        >>> as_dataset(torch.randn(100, 5), "noise")
        ArrayDataset('noise', shape=(5,), train=80, valid=10, test=10)
    """
    if isinstance(data, Dataset):
        return data

    if isinstance(data, (Tensor, np.ndarray)):
        rows = _rows(data, name)
        splits = held_out(rows, valid_fraction, test_fraction, seed, name)
    elif isinstance(data, Sequence) and len(data) in (2, 3):
        splits = [
            _rows(part, f"{name}: {split}") for split, part in zip(SPLITS, data, strict=False)
        ]
    else:
        raise TypeError(
            f"as_dataset expects a tensor, an array, (train, valid), or a Dataset; got "
            f"{type(data).__name__}. Convert it with torch.as_tensor."
        )

    if len({rows.is_floating_point() for rows in splits}) > 1:
        raise ValueError(f"{name} expects floats or integers; got both. Convert the splits to one.")
    levels = None if splits[0].is_floating_point() else _levels(splits, name)

    train, valid, *rest = splits
    test = rest[0] if rest else None
    if train.dtype == torch.uint8 and train.ndim == 4 and test is not None and levels is not None:
        return Images(name, train, valid, test, levels)
    return ArrayDataset(name, train, valid, test, levels)


def held_out(
    rows: Tensor, valid_fraction: float, test_fraction: float, seed: int, name: str
) -> list[Tensor]:
    """Return the rows of train, valid and test, chosen by a permutation; at least one each.

    The choice of the test rows depends on neither ``valid_fraction`` nor the seed.

    Args:
        rows: All rows.
        valid_fraction: Fraction to hold out for validation.
        test_fraction: Fraction to hold out for the test.
        seed: Seed of the choice of the validation rows.
        name: Name of the data in an error.

    Raises:
        ValueError: If a fraction is not in (0, 1), or there are too few rows.
    """
    return [
        rows[index]
        for index in held_out_index(len(rows), valid_fraction, test_fraction, seed, name)
    ]


def held_out_index(
    total: int, valid_fraction: float, test_fraction: float, seed: int, name: str
) -> list[Tensor]:
    """Return the indices of the rows of train, valid and test; see `held_out`."""
    for key, value in (("valid_fraction", valid_fraction), ("test_fraction", test_fraction)):
        check_number("as_dataset", key, value, 0, 1, open_ends=True)
    check_size("as_dataset", "seed", seed, 0, 2**63 - 1)

    tested = max(round(test_fraction * total), 1)
    validated = max(round(valid_fraction * total), 1)
    if tested + validated >= total:
        raise ValueError(
            f"{name} expects more than {tested + validated} rows, because these are held out for "
            f"validation and test; got {total}. Add rows, or lower the fractions."
        )

    # The test rows do not depend on the seed, so that results with different seeds can be compared.
    mixed = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(total - tested, generator=torch.Generator().manual_seed(seed))
    rest = mixed[tested:][order]
    return [rest[validated:], rest[:validated], mixed[:tested]]


def _rows(data: object, subject: str) -> Tensor:
    """Return an array as a tensor of floats of the default dtype, or of integers from 0 on."""
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "biuf":
            raise TypeError(
                f"{subject} expects an array of numbers; got {data.dtype}. Convert it first."
            )
        data = torch.from_numpy(np.ascontiguousarray(data, data.dtype.newbyteorder("=")))

    rows = check_tensor("as_dataset", subject, data).detach()
    if rows.ndim == 0:
        raise ValueError(f"{subject} expects shape (N, ...); got a single number. Pass rows.")
    if rows.is_floating_point():
        check_finite("as_dataset", subject, rows, "Repair these rows, or leave them out")
        return rows.to(torch.get_default_dtype())
    return rows.to(torch.uint8) if rows.dtype == torch.bool else rows


def _levels(splits: Sequence[Tensor], name: str) -> int:
    """Return the levels of integers: 2 for bits, 256 for other bytes, else the largest plus 1."""
    lowest = min(int(rows.min()) for rows in splits if rows.numel())
    highest = max(int(rows.max()) for rows in splits if rows.numel())
    if lowest < 0 or highest >= _LARGEST_LEVELS:
        raise ValueError(
            f"{name} expects integers that are levels 0, 1, ...; got values from {lowest} to "
            f"{highest}. Pass floats for real elements."
        )
    if highest <= 1:
        return 2
    return 256 if splits[0].dtype == torch.uint8 else highest + 1
