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
    parts = [_as_numbers_or_texts(part) for part in splits]
    _check_names(parts, name)

    together = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    columns = completed(together, declared or {}, name, complete)
    values = np.stack([encoded(column, together[column.name], name) for column in columns], 1)

    # The rows of train come first.
    lengths = [len(next(iter(part.values()))) for part in parts]
    train = values[: lengths[0]]
    columns = [
        _with_statistics(column, train[:, place], name) for place, column in enumerate(columns)
    ]

    discrete = all(column.discrete for column in columns)
    complete_rows = not np.isnan(values).any()
    dtype = torch.int64 if discrete and complete_rows else torch.float32
    train_rows, valid, test = torch.from_numpy(values).to(dtype).split(lengths)
    levels = _levels(values) if discrete else None
    return Table(name, train_rows, valid, test, levels, columns=tuple(columns))


def _as_numbers_or_texts(part: Raw) -> dict[str, NDArray[Any]]:
    """Return columns as floats for any numbers, and as objects for texts."""
    converted = {}
    for key, values in part.items():
        array = np.asarray(values)
        kind = np.float64 if array.dtype.kind in "biuf" else object
        converted[key] = array.astype(kind)
    return converted


def _check_names(parts: Sequence[Raw], name: str) -> None:
    """Raise ValueError if the splits have different columns."""
    expected = list(parts[0])
    for split, part in zip(SPLITS, parts, strict=True):
        if list(part) != expected:
            raise ValueError(
                f"{name} expects the same columns in train and {split}; got {expected} and "
                f"{list(part)}. Write both with the same columns."
            )


def encoded(column: Column, values: NDArray[Any], source: str) -> NDArray[np.float64]:
    """Return the values of a column as floats: categories as codes, angles within the period.

    Raises:
        ValueError: If a value is infinite, outside of the limits, not whole or of no category.
    """
    where = f"{source}: column {printable(column.name)}"
    if column.values is not None:
        return _codes(column.values, values, where)

    if values.dtype.kind == "O":
        bad = next(value for value in values if value is not None)
        raise ValueError(
            f"{where} expects numbers for kind {column.kind}; got text such as "
            f"{printable(bad)[:40]!r}. Declare it `category` or `drop`."
        )

    x = values.astype(np.float64)
    _refuse(np.isinf(x), where, "finite values", "Repair these rows")

    low = column.low
    high = column.high
    if column.kind == "periodic" and low is not None and high is not None:
        return low + (x - low) % (high - low)

    if column.discrete:
        fractional = ~np.isnan(x) & (x % 1 != 0)
        _refuse(fractional, where, "integers", "Declare it `real`")

    # Real elements lie strictly within their limits.
    open_ends = not column.discrete
    if low is not None:
        outside = x <= low if open_ends else x < low
        _refuse(outside, where, f"values above {low:g}", "Move the limit")

    if high is not None:
        outside = x >= high if open_ends else x > high
        _refuse(outside, where, f"values below {high:g}", "Move the limit")
    return x


def _codes(categories: Sequence[str], values: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Return the code of each text, and NaN where it is missing."""
    codes = {text: float(code) for code, text in enumerate(categories)}
    found = []

    for value in values:
        text = text_of(value)
        if text is not None and text not in codes:
            raise ValueError(
                f"{where} expects its {len(codes)} categories; got {printable(text)!r}. Declare "
                f"all values."
            )
        found.append(np.nan if text is None else codes[text])
    return np.array(found)


def on_real_line(column: Column, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values without limits, as the layer `Limits` of a flow does; integers are centred."""
    low, high = column.limits
    has_low = np.isfinite(low)
    has_high = np.isfinite(high)
    if column.discrete:
        x = x + 0.5

    if has_low and has_high:
        return np.log(x - low) - np.log(high - x)
    if has_low:
        return np.log(x - low)
    if has_high:
        return -np.log(high - x)
    return x


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
    mean = float(x.mean())
    std = float(x.std())
    if std == 0:  # constant in train alone
        std = 1.0

    rounding = np.finfo(np.float32).eps * abs(mean)
    if std < _LEAST_RESOLUTION * rounding:
        note(
            f"{source}: column {printable(column.name)} varies by {std:g} around {mean:g}, and "
            f"float32 keeps few digits of that. Subtract a constant."
        )
    return replace(column, mean=mean, std=std)


def _levels(values: NDArray[np.float64]) -> int | None:
    """Return the levels of integers that begin at 0, at least 2; `None` for others."""
    lowest = np.nanmin(values)
    highest = np.nanmax(values)
    if lowest < 0 or highest >= MOST_LEVELS:
        return None
    return max(2, int(highest) + 1)


def _refuse(bad: NDArray[np.bool_], where: str, expected: str, advice: str) -> None:
    if bad.any():
        raise ValueError(
            f"{where} expects {expected}; got {int(bad.sum())} of {len(bad)} values that are not. "
            f"{advice}."
        )
