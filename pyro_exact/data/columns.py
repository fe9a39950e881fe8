"""The columns of a table: declared by the user in YAML, or inferred from the values."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from pyro_exact.checks import printable, shown
from pyro_exact.data.note import listed, note

Kind = Literal["real", "bounded", "periodic", "integer", "category", "drop"]
KINDS: tuple[str, ...] = get_args(Kind)

# An inferred column of at most this many different integers has the smallest and the largest as its
# limits; a column of more is a count without limits.
FEW = 32
MOST_CATEGORIES = 1000  # of a column of texts: more are names or addresses, and no categories
MARGIN = 0.01  # of the range, beyond the found limits of a bounded column

_LARGEST_FILE = 2**20

Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Name of the column.
        kind: ``"real"``; ``"bounded"``, between ``low`` and ``high``; ``"periodic"``, an angle that
            starts again at ``high``; ``"integer"``, from ``low`` to ``high`` where these are given;
            ``"category"``, a code 0, 1, ... of ``values``; or ``"drop"``, which is not used.
        low: Lower limit.
        high: Upper limit.
        values: Texts of the categories, in the order of the codes.
        mean: Mean of the training rows, on the real line: after a logit between two limits, or a
            logarithm with one limit; 0.5 is added to integers and categories.
        std: Standard deviation of these rows, likewise.
    """

    name: str
    kind: Kind = "real"
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"column {printable(self.name)} expects a kind out of {', '.join(KINDS)}; got "
                f"{shown(self.kind)}.{_hint(str(self.kind), KINDS)} Use one of them."
            )

        if self.values is not None and self.kind != "category":
            raise ValueError(
                f"column {printable(self.name)} expects values for a category only; got kind "
                f"{self.kind}. Leave them out."
            )

        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(
                f"column {printable(self.name)} expects low below high; got {self.low} and "
                f"{self.high}. Exchange them."
            )

        if self.kind == "periodic" and (self.low is None or self.high is None):
            raise ValueError(
                f"column {printable(self.name)} expects low and high, the ends of the period; got "
                f"{self.low} and {self.high}. Add them, for example low: 0 and high: 360."
            )

    @property
    def discrete(self) -> bool:
        """True for integers and categories."""
        return self.kind in ("integer", "category")

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the values, infinite where there is none; an integer n is the cell [n, n + 1)."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high

        if self.discrete:
            high = high + 1
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without fields that are not set."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        if self.values is not None:
            values["values"] = list(self.values)
        return values

    def __str__(self) -> str:
        if self.values is not None:
            count = len(self.values)
            return f"{self.name}: category of {count}: {listed(self.values)}"

        if self.low is None and self.high is None:
            return f"{self.name}: {self.kind}"

        low = "any" if self.low is None else f"{self.low:g}"
        high = "any" if self.high is None else f"{self.high:g}"
        return f"{self.name}: {self.kind}, from {low} to {high}"


def read_columns(path: Path) -> dict[str, Column]:
    """Read the declaration of some columns; the columns that it does not name are inferred.

    Args:
        path: A YAML file with a line for each column: ``age: integer``,
            ``share: {kind: bounded, low: 0, high: 1}``, or ``id: drop``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such declaration.
    """
    source = printable(path)
    if not path.is_file():
        raise FileNotFoundError(f"{source}: no such file. Pass a YAML file of columns.")

    with path.open("rb") as file:
        text = file.read(_LARGEST_FILE + 1)

    try:
        values = yaml.safe_load(text) if len(text) <= _LARGEST_FILE else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{source} is no YAML: {printable(error)[:160]}. Correct it.") from error

    if not isinstance(values, Mapping):
        raise ValueError(
            f"{source} expects a line `name: kind` for each column; got {shown(values)}. Write, "
            f"for example, `age: integer`."
        )
    return {str(name): _declared(str(name), value, source) for name, value in values.items()}


def _declared(name: str, value: object, source: str) -> Column:
    fields = {"kind": value} if isinstance(value, str) else value
    known = ("kind", "low", "high", "values")
    if not isinstance(fields, Mapping) or not {*fields} <= {*known}:
        raise ValueError(
            f"{source}: {printable(name)} expects a kind, or {', '.join(known)}; got "
            f"{shown(value)}. Write, for example, `{{kind: bounded, low: 0, high: 1}}`."
        )

    ends = {key: fields[key] for key in ("low", "high") if fields.get(key) is not None}
    if not all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends.values()):
        raise ValueError(f"{source}: {printable(name)} expects limits that are finite numbers.")

    texts = fields.get("values")
    if not (texts is None or (isinstance(texts, list) and texts)):
        raise ValueError(f"{source}: {printable(name)} expects values as a list of texts.")

    return Column(
        name,
        fields.get("kind", "real"),
        values=None if texts is None else tuple(map(str, texts)),
        **{key: float(end) for key, end in ends.items()},
    )


def completed(
    columns: Mapping[str, Array],
    declared: Mapping[str, Column],
    source: str,
    complete: bool = False,
) -> list[Column]:
    """Return all columns but the dropped, with kinds, limits and categories found where not given.

    Args:
        columns: All values of each column: floats with NaN where missing, or texts with `None`.
        declared: The declared columns.
        source: Name of the table in an error.
        complete: If true, return the declared columns alone, in their order.

    Raises:
        ValueError: If a declared column is absent, or a column cannot be used; the error names it.
    """
    for name in declared:
        if name not in columns:
            raise ValueError(
                f"{source} has no column {printable(name)}.{_hint(name, columns)} Its columns are "
                f"{listed(list(columns))}."
            )

    found = []
    for name in declared if complete else columns:
        values = columns[name]
        column = declared.get(name) or _inferred(name, values, source)
        column = _found(column, values, source)

        if column.kind != "drop":
            found.append(column)

    if not found:
        raise ValueError(f"{source} expects columns that vary; got none. Choose another table.")
    return found


def _inferred(name: str, values: Array, source: str) -> Column:
    """Return a column whose kind follows from the values."""
    if values.dtype.kind == "O":
        return _inferred_text(name, values, source)

    if np.isinf(values).any():
        return Column(name)  # which refuses these values

    present = values[~np.isnan(values)]
    if len(present) == 0 or present.min() == present.max():
        note(f"{source}: column {printable(name)} has a single value, and is left out.")
        return Column(name, "drop")

    if (present % 1 != 0).any():
        return Column(name)

    low, high = float(present.min()), float(present.max())
    if high - low < FEW:
        return Column(name, "integer", low, high)
    return Column(name, "integer")


def _inferred_text(name: str, values: Array, source: str) -> Column:
    """Return a category, or leave out a column of texts that no row shares, or that all share."""
    texts = [text for value in values if (text := text_of(value)) is not None]
    different = len(set(texts))

    if different == 1:
        note(f"{source}: column {printable(name)} has a single value, and is left out.")
        return Column(name, "drop")
    if different == len(texts) > FEW:
        note(
            f"{source}: column {printable(name)} has another text in each row, as names and dates "
            f"do, and is left out. Declare it `category` to use it."
        )
        return Column(name, "drop")
    return Column(name, "category")


def _found(column: Column, values: Array, source: str) -> Column:
    """Return a column with the limits and the categories that were not given."""
    if column.kind == "category" and column.values is None:
        categories = _categories(column, values, source)
        return replace(column, low=None, high=None, values=categories)

    if column.kind == "bounded" and (column.low is None or column.high is None):
        lowest = float(np.nanmin(values))
        highest = float(np.nanmax(values))
        margin = MARGIN * (highest - lowest)
        low = lowest - margin if column.low is None else column.low
        high = highest + margin if column.high is None else column.high

        note(
            f"{source}: limits of column {printable(column.name)} found: {low:g} to {high:g}, with "
            f"a margin of 1 %. Declare limits if you know them."
        )
        return replace(column, low=low, high=high)
    return column


def _categories(column: Column, values: Array, source: str) -> tuple[str, ...]:
    texts = sorted({text_of(value) for value in values} - {None})  # type: ignore[type-var]
    if not 1 < len(texts) <= MOST_CATEGORIES:
        raise ValueError(
            f"{source}: column {printable(column.name)} expects from 2 to {MOST_CATEGORIES} "
            f"categories; got {len(texts)}. Declare it `drop`, or make numbers of it."
        )
    return tuple(text for text in texts if text is not None)


def text_of(value: object) -> str | None:
    """Return a value as the text of a category, and `None` if it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def decoded(column: Column, values: Array) -> Array:
    """Return the values of a column as a table has them: texts of categories, and integers."""
    if column.values is not None:
        last = len(column.values) - 1
        codes = [min(max(int(code), 0), last) for code in values]
        return np.array([column.values[code] for code in codes])

    return values.astype(np.int64) if column.discrete else values


def _hint(name: str, known: object) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)  # type: ignore[call-overload]
    return f" Did you mean {near[0]}?" if near else ""
