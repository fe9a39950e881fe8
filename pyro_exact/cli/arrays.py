"""Files of numbers that commands write: samples and scores, as .npz, .npy or .csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Columns = Mapping[str, NDArray[Any]]

ARRAYS = (".npz", ".npy", ".csv")


def check_apart(flag: str, out: Path, others: Mapping[str, str | Path | None]) -> None:
    """Raise an error, before anything is computed, if an output would replace another file.

    Args:
        flag: The flag of the output.
        out: The output.
        others: Other outputs, and inputs, of the same command, by the name in an error.
    """
    for name, other in others.items():
        if other is not None and Path(other).resolve() == out.resolve():
            raise ValueError(
                f"{flag} expects another file than {name}; got {printable(out)} for both. Choose "
                f"another name."
            )


def check_suffix(flag: str, out: Path, suffixes: Sequence[str]) -> None:
    """Raise an error, before anything is computed, when a file cannot be written.

    Args:
        flag: The flag that names the file.
        out: The file.
        suffixes: The suffixes that can be written.

    Raises:
        ValueError: If the file has another suffix, or the folder cannot be written.
    """
    from pyro_exact.files import check_writable

    if out.suffix.lower() not in suffixes:
        *others, last = suffixes
        expected = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(
            f"{flag} expects the name of a {expected} file; got {printable(out)!r}. Correct the "
            f"suffix."
        )
    check_writable(out.parent)


def write_arrays(columns: Columns, out: Path) -> None:
    """Write arrays of equal length to a file, whose suffix is the format.

    An .npz file holds all arrays by name. A .csv file has a column for each element of a row, named
    after the array; an array of several elements a row has numbered columns. An .npy file can hold
    a single array: the last one.

    Args:
        columns: The arrays by name, each of shape (N, ...).
        out: The file.
    """
    import numpy as np

    from pyro_exact.files import atomic_write

    suffix = out.suffix.lower()
    with atomic_write(out) as partial, partial.open("wb") as file:
        if suffix == ".npz":
            named: dict[str, Any] = {**columns}
            np.savez(file, **named)
        elif suffix == ".npy":
            np.save(file, [*columns.values()][-1])
        else:
            file.write(_csv(columns).encode())


def _csv(columns: Columns) -> str:
    """Return the text of a table with a column for each element of a row."""
    names, flat = [], []
    for name, array in columns.items():
        rows = array.reshape(len(array), -1)
        width = rows.shape[1]
        names += [name] if array.ndim == 1 else [f"{name}{i}" for i in range(width)]
        flat.append(rows)

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for parts in zip(*flat, strict=True):
        writer.writerow([value for part in parts for value in part.tolist()])
    return text.getvalue()
