"""Read tables from .csv, .parquet and .npy files, and from folders of such files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_exact.checks import printable
from pyro_exact.data.arrays import held_out_index
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.note import note
from pyro_exact.data.options import Options
from pyro_exact.data.split import ALIASES
from pyro_exact.data.table import Raw, Table, make_table

SUFFIXES = (".csv", ".tsv", ".parquet", ".npy")

# Part of the rows of a single file that becomes the test split. It does not depend on the seed.
TEST_FRACTION = 0.1

_SEPARATORS = (",", ";", "\t")
_MISSING = ("?",)  # besides the texts that pandas knows, such as NA and an empty field


def read_table(path: Path, options: Options) -> Table:
    """Read a table from a file, of which parts are held out, or from a folder of three files.

    Args:
        path: A .csv, .tsv, .parquet or .npy file; or a folder with files named train, test and the
            optional valid, with one of these suffixes.
        options: The fraction and the seed of the validation split, and declared columns. A tenth of
            the rows of a single file is test, whatever the seed.

    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If pandas or pyarrow is required and missing.
        ValueError: If the file is damaged, or a column cannot be used.
    """
    name, fraction, seed = printable(path.stem), options.fraction, options.seed
    if path.is_dir():
        files = split_files(path)
        parts = {split: read_rows(file) for split, file in files.items()}
        if "valid" not in parts:
            train = parts["train"]
            kept, valid, _ = hold_out_rows(train, fraction, seed, f"{name}: train", test=False)
            parts |= {"train": kept, "valid": valid}
        return make_table(
            name, [parts[split] for split in SPLITS], options.columns, options.complete
        )

    parts_of = hold_out_rows(read_rows(path), fraction, seed, name)
    return make_table(name, parts_of, options.columns, options.complete)


def split_files(folder: Path) -> dict[str, Path]:
    """Return the table of each split in a folder; empty unless train and test are there."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = ALIASES.get(file.stem.lower(), file.stem.lower())
        if split in SPLITS and file.suffix.lower() in SUFFIXES and file.is_file():
            found.setdefault(split, file)
    return found if {"train", "test"} <= {*found} else {}


def read_rows(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a file by name: floats with NaN where missing, or texts with `None`."""
    if not path.is_file():
        raise FileNotFoundError(f"{printable(path)}: no such file. Pass the path of a table.")
    if path.suffix.lower() == ".npy":
        return columns_of(_npy(path), printable(path))

    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{printable(path)} expects the package pandas; got none. Run "
            f"pip install 'pyro_exact[tables]', or pass an .npy file."
        ) from error

    try:
        frame = (
            pandas.read_parquet(path)
            if path.suffix.lower() == ".parquet"
            else _csv(path, pandas.read_csv)
        )
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{printable(path)} cannot be read as a table: {printable(error)[:160]}. Correct it."
        ) from error

    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise ValueError(f"{printable(path)} expects rows and columns; got shape {frame.shape}.")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"{printable(path)} has two columns {printable(twice)}. Rename one.")
    return {str(name): _values(frame[name], path) for name in frame.columns}


def columns_of(array: NDArray[Any], source: str) -> dict[str, NDArray[Any]]:
    """Return the columns of an array (N, D) under the names x0, x1, ..."""
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{source} expects an array of shape (N, D); got {array.shape}.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{source} expects an array of numbers; got {array.dtype}.")
    return {f"x{i}": array[:, i] for i in range(array.shape[1])}


def _npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{printable(path)} expects an array that numpy.save wrote; got a file that is "
            f"damaged, or of another kind: {printable(error)[:160]}."
        ) from error
    return array


def _csv(path: Path, read_csv: Any) -> Any:
    """Read text with the separator that the first line has most of, with or without names."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    separator = max(_SEPARATORS, key=first.count)
    if first.count(separator) == 0 and len(first.split()) > 1:
        separator = r"\s+"

    names = first.split(None if separator == r"\s+" else separator)
    header = None if all(map(_is_number, names)) else 0
    if header is None:
        note(
            f"{printable(path)}: the first line holds numbers, so there are no names of columns; "
            f"these are x0, x1, ..."
        )
    frame = read_csv(
        path,
        sep=separator,
        header=header,
        index_col=False,
        na_values=_MISSING,
        encoding="utf-8-sig",
    )
    if header is None:
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    return frame.rename(columns=lambda name: str(name).strip())


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip("\"'"))
    except ValueError:
        return False
    return True


def _values(series: Any, path: Path) -> NDArray[Any]:
    """Return a column of pandas as floats, or as texts with `None`."""
    from pandas.api import types

    if types.is_bool_dtype(series.dtype) or types.is_numeric_dtype(series.dtype):
        if types.is_complex_dtype(series.dtype):
            raise ValueError(f"{printable(path)}: {printable(series.name)} is complex. Split it.")
        numbers: NDArray[Any] = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers

    if types.is_datetime64_any_dtype(series.dtype):
        raise ValueError(
            f"{printable(path)}: {printable(series.name)} holds dates. Write numbers, for example "
            f"days since a date."
        )
    missing = series.isna().to_numpy()
    texts = series.astype(str).to_numpy(dtype=object)
    texts[missing] = None
    return texts


def hold_out_rows(
    rows: Raw, fraction: float, seed: int, name: str, test: bool = True
) -> list[dict[str, NDArray[Any]]]:
    """Return the columns of train, valid and test.

    Args:
        rows: The columns.
        fraction: Fraction of the rows to hold out for validation.
        seed: Seed of the choice of these rows.
        name: Name of the table in an error.
        test: If false, no rows are held out for the test.
    """
    total = len(next(iter(rows.values())))
    if test:
        index = held_out_index(total, fraction, TEST_FRACTION, seed, name)
    else:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        cut = max(1, round(fraction * total))
        index = [order[cut:], order[:cut], order[:0]]
    return [{key: values[part.numpy()] for key, values in rows.items()} for part in index]
