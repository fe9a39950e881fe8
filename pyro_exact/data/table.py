"""A table: rows of columns of several kinds, as real numbers or as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.arrays import ArrayDataset
from pyro_exact.data.columns import Column, completed, text_of
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.note import note

Raw = Mapping[str, NDArray[Any]]

MOST_LEVELS = 2**16  # of a table of integers for a network; such a table of more has no levels

# A spread below this many units in the last place of float32 is lost in part.
_LEAST_RESOLUTION = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Table(ArrayDataset):
    """A table, split into train, valid and test.

    `pyro_exact.data.load` reads it from a file, and `make_table` makes it of arrays. The rows are
    float32, in the units of the table, with NaN where a value is missing. If all columns are
    integers or categories and no value is missing, the rows are int64.

    Args:
        columns: The columns.
        (the other arguments): As in `ArrayDataset`; a row has an element for each column.
    """

    columns: tuple[Column, ...] = ()

    @property
    def missing(self) -> dict[str, int]:
        """How many values are missing in all splits, for each column with missing values."""
        rows = [self.split(name) for name in SPLITS]
        counts = sum(part.isnan().sum(0) for part in rows if isinstance(part, Tensor))
        if not isinstance(counts, Tensor):
            return {}
        pairs = zip(self.columns, counts.tolist(), strict=True)
        return {column.name: count for column, count in pairs if count}

    def describe(self) -> str:
        """Return a line for each column: name, kind, limits, and how many values are missing."""
        missing = self.missing
        lines = [repr(self)]
        for column in self.columns:
            count = missing.get(column.name, 0)
            lines.append(f"  {column}" + (f", {count} missing" if count else ""))
        return "\n".join(lines)


def make_table(
    name: str,
    splits: Sequence[Raw],
    declared: Mapping[str, Column] | None = None,
    complete: bool = False,
) -> Table:
    """Return a table of three splits.

    Args:
        name: Name of the table in results.
        splits: The columns of train, valid and test: floats with NaN where a value is missing, or
            texts with `None`.
        declared: Columns that should not be inferred.
        complete: If true, the table has the declared columns alone, in their order.

    Raises:
        ValueError: If the splits have different columns, or a value does not fit the column; the
            error names it and says how many such values there are.

    Example:
        >>> part = {"height": np.array([1.5, 1.75, 1.0]), "sex": np.array(["f", "m", "f"])}
        >>> table = make_table("people", [part, part, part])
        >>> print(table.describe())
        Table('people', shape=(2,), train=3, valid=3, test=3)
          height: real
          sex: category of 2: f, m
    """
    named = [{key: _numbers_or_texts(values) for key, values in part.items()} for part in splits]
    for split, part in zip(SPLITS, named, strict=True):
        if list(part) != list(named[0]):
            raise ValueError(
                f"{name} expects the same columns in train and {split}; got {list(named[0])} and "
                f"{list(part)}. Write both with the same columns."
            )

    together = {key: np.concatenate([part[key] for part in named]) for key in named[0]}
    columns = completed(together, declared or {}, name, complete)
    ends = np.cumsum([len(next(iter(part.values()))) for part in named])[:-1]
    parts = [np.split(encoded(column, together[column.name], name), ends) for column in columns]
    keys = [column.name for column in columns]
    coded = [dict(zip(keys, part, strict=True)) for part in zip(*parts, strict=True)]
    columns = [_with_statistics(column, coded[0][column.name], name) for column in columns]

    discrete = all(column.discrete for column in columns)
    complete = not any(np.isnan(values).any() for part in coded for values in part.values())
    dtype = np.int64 if discrete and complete else np.float32
    train, valid, test = (
        torch.from_numpy(np.stack(list(part.values()), 1).astype(dtype)) for part in coded
    )
    levels = _levels([train, valid, test]) if discrete else None
    return Table(name, train, valid, test, levels, columns=tuple(columns))


def encoded(column: Column, values: NDArray[Any], source: str) -> NDArray[np.float64]:
    """Return the values of a column as floats: categories as codes, angles within the period.

    Raises:
        ValueError: If a value is infinite, outside of the limits, not whole or of no category.
    """
    where = f"{source}: column {printable(column.name)}"
    if column.values is not None:
        codes = {text: code for code, text in enumerate(column.values)}
        texts = [text_of(value) for value in values]
        unknown = sorted({text for text in texts if text is not None and text not in codes})
        if unknown:
            raise ValueError(
                f"{where} expects its {len(codes)} categories; got {printable(unknown[0])!r}. "
                f"Declare all values."
            )
        return np.array([np.nan if text is None else codes[text] for text in texts], np.float64)

    if values.dtype.kind == "O":
        bad = next(value for value in values if value is not None)
        raise ValueError(
            f"{where} expects numbers for kind {column.kind}; got text such as "
            f"{printable(bad)[:40]!r}. Declare it `category` or `drop`."
        )

    x = values.astype(np.float64)
    _refuse(np.isinf(x), where, "finite values", "Repair these rows")
    low, high = column.low, column.high
    if column.kind == "periodic" and low is not None and high is not None:
        return low + (x - low) % (high - low)

    if column.discrete:
        _refuse(~np.isnan(x) & (x % 1 != 0), where, "integers", "Declare it `real`")
    open_ends = not column.discrete
    if low is not None:
        outside = x <= low if open_ends else x < low
        _refuse(outside, where, f"values above {low:g}", "Move the limit")
    if high is not None:
        outside = x >= high if open_ends else x > high
        _refuse(outside, where, f"values below {high:g}", "Move the limit")
    return x


def on_real_line(column: Column, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values without limits, as the layer `Limits` of a flow does; integers are centred."""
    low, high = column.limits
    x = x + 0.5 if column.discrete else x
    if np.isfinite(low) and np.isfinite(high):
        return np.log(x - low) - np.log(high - x)
    if np.isfinite(low):
        return np.log(x - low)
    return -np.log(high - x) if np.isfinite(high) else x


def _with_statistics(column: Column, train: NDArray[np.float64], source: str) -> Column:
    """Return a column with the mean and the standard deviation of the training rows."""
    if column.kind == "category" and column.values is not None:
        column = replace(column, low=0.0, high=float(len(column.values) - 1))

    present = train[~np.isnan(train)]
    if len(present) == 0:
        raise ValueError(
            f"{source}: column {printable(column.name)} expects values in train; got none. Declare "
            f"it `drop`."
        )
    x = present if column.kind == "periodic" else on_real_line(column, present)
    mean, std = float(x.mean()), float(x.std())

    if std == 0:  # constant in train alone
        std = 1.0
    if std < _LEAST_RESOLUTION * np.finfo(np.float32).eps * abs(mean):
        note(
            f"{source}: column {printable(column.name)} varies by {std:g} around {mean:g}, and "
            f"float32 keeps few digits of that. Subtract a constant."
        )
    return replace(column, mean=mean, std=std)


def _numbers_or_texts(values: NDArray[Any]) -> NDArray[Any]:
    """Return floats for any numbers, and objects for texts."""
    values = np.asarray(values)
    return values.astype(np.float64 if values.dtype.kind in "biuf" else object)


def _levels(splits: Sequence[Tensor]) -> int | None:
    """Return the levels of integers that begin at 0, at least 2; `None` for others."""
    present = torch.cat([rows[~rows.isnan()] for rows in splits])
    lowest, highest = int(present.min()), int(present.max())
    return max(2, highest + 1) if lowest >= 0 and highest < MOST_LEVELS else None


def _refuse(bad: NDArray[np.bool_], where: str, expected: str, advice: str) -> None:
    if bad.any():
        raise ValueError(
            f"{where} expects {expected}; got {int(bad.sum())} of {len(bad)} values that are not. "
            f"{advice}."
        )
