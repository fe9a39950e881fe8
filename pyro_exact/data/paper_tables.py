"""The five data sets of the paper on masked autoregressive flows, as its code prepares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable
from pyro_exact.data.columns import Column
from pyro_exact.data.options import Options
from pyro_exact.data.table import Table, make_table
from pyro_exact.data.table_files import columns_of, read_rows

Array = NDArray[np.float64]
Splits = tuple[Array, Array, Array]

_HELD_OUT = 0.1  # of the rows, and then of the rest
_MOST_CORRELATED = 0.98
_MOST_REPEATED = 5


def paper_table(read: Callable[[Path], Splits], name: str, options: Options) -> Table:
    """Read a data set as the code of the paper prepares it: standardised, float32, without shuffle.

    Scores are therefore comparable with those of the paper. The splits are the paper's: the
    validation fraction and the seed have no effect.

    Args:
        read: A function of the root that returns train, valid and test.
        name: Name of the data set.
        options: The root, which holds the folders power, gas, hepmass, miniboone and BSDS300.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If the data are damaged.

    Reference:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation,
        section D and official code; data: 10.5281/zenodo.1161203.
    """
    splits = read(options.need_root(name))
    parts = [columns_of(part.astype(np.float32), name) for part in splits]
    return make_table(name, parts, {key: Column(key) for key in parts[0]})


def power(root: Path) -> Splits:
    """Read POWER: 6 columns of 8, with uniform noise as wide as the rounding of each column."""
    data = _npy(root / "power" / "data.npy", "power", 8)
    generator = np.random.RandomState(42)
    generator.shuffle(data)
    data = np.delete(data, (1, 3), axis=1)

    # Columns: active power, voltage, three meters, time of the day. The draws come in this order.
    rows = len(data)
    voltage = 0.01 * generator.rand(rows, 1)
    active = 0.001 * generator.rand(rows, 1)
    meters = generator.rand(rows, 3)
    data = data + np.hstack([active, voltage, meters, np.zeros((rows, 1))])

    return _standardised(*_last_held_out(data))


def gas(root: Path) -> Splits:
    """Read GAS: the sensors, less each that correlates above 0.98 with another."""
    columns = {
        name: values
        for name, values in read_rows(_gas_file(root / "gas")).items()
        if name not in ("Time", "Meth", "Eth", "CO")
    }
    data = np.stack(list(columns.values()), 1).astype(np.float64)

    while True:
        alike = (np.corrcoef(data, rowvar=False) > _MOST_CORRELATED).sum(1) > 1
        if not alike.any():
            break
        data = np.delete(data, int(np.flatnonzero(alike)[0]), axis=1)

    data = (data - data.mean(0)) / data.std(0, ddof=1)
    return _last_held_out(data)


def hepmass(root: Path) -> Splits:
    """Read HEPMASS: the signal of mass 1000, less each column whose smallest value is repeated."""
    train, test = (
        np.stack(list(read_rows(root / "hepmass" / f"1000_{split}.csv").values()), 1)
        for split in ("train", "test")
    )
    # The first column is the class; the file of the test has a column too many at the end.
    size = train.shape[1]
    train, test = (part[part[:, 0] == 1, 1:size].astype(np.float64) for part in (train, test))

    mean, std = train.mean(0), train.std(0, ddof=1)
    train, test = (train - mean) / std, (test - mean) / std

    kept = (train == train.min(0)).sum(0) <= _MOST_REPEATED
    train, test = train[:, kept], test[:, kept]
    return *_cut(train), test


def miniboone(root: Path) -> Splits:
    """Read MINIBOONE, whose published array holds the chosen rows and columns."""
    return _standardised(*_last_held_out(_npy(root / "miniboone" / "data.npy", "miniboone", None)))


def bsds300(root: Path) -> Splits:
    """Read BSDS300: patches of 8 x 8 pixels less their mean, without the last pixel."""
    import h5py

    path = root / "BSDS300" / "BSDS300.hdf5"
    _check_there(path, "bsds300")
    try:
        with h5py.File(path, "r") as file:
            train, valid, test = (
                np.asarray(file[split], np.float64) for split in ("train", "validation", "test")
            )
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{printable(path)} expects an HDF5 file of train, validation and test; got another: "
            f"{printable(error)[:160]}. Download it again."
        ) from error
    return train, valid, test


PAPER_TABLES: dict[str, Callable[[Path], Splits]] = {
    "power": power,
    "gas": gas,
    "hepmass": hepmass,
    "miniboone": miniboone,
    "bsds300": bsds300,
}


def _npy(path: Path, name: str, columns: int | None) -> Array:
    _check_there(path, name)
    data = np.stack(list(read_rows(path).values()), 1).astype(np.float64)
    if columns is not None and data.shape[1] != columns:
        raise ValueError(
            f"{printable(path)} expects {columns} columns; got {data.shape[1]}. Download it again."
        )
    return data


def _gas_file(folder: Path) -> Path:
    """Return the table of GAS in a format that runs no code; the published file is a pickle."""
    for suffix in (".csv", ".parquet"):
        path = folder / f"ethylene_CO{suffix}"
        if path.is_file():
            return path

    pickled, path = folder / "ethylene_CO.pickle", folder / "ethylene_CO.csv"
    if pickled.is_file():
        raise ValueError(
            f"{printable(pickled)} is a pickle, which may run code when it is read, so it is not "
            f"read here. If you trust it, convert it once: "
            f"pandas.read_pickle(path).to_csv('ethylene_CO.csv', index=False)."
        )
    _check_there(path, "gas")
    return path


def _check_there(path: Path, name: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} expects the file {printable(path)}; got none. Download the data of the paper, "
            f"10.5281/zenodo.1161203, and pass their folder as root (--data-root)."
        )


def _cut(data: NDArray[Any]) -> tuple[Array, Array]:
    """Return all rows but the last tenth, and these."""
    held = int(_HELD_OUT * len(data))
    if held == 0:
        raise ValueError(f"A data set of the paper expects more than {len(data)} rows.")
    return data[:-held], data[-held:]


def _last_held_out(data: Array) -> Splits:
    """Return train, valid and test: the last tenth is test, the last tenth of the rest valid."""
    rest, test = _cut(data)
    return *_cut(rest), test


def _standardised(train: Array, valid: Array, test: Array) -> Splits:
    """Return the splits in units of the training and validation rows together."""
    seen = np.vstack([train, valid])
    mean, std = seen.mean(0), seen.std(0)
    return (train - mean) / std, (valid - mean) / std, (test - mean) / std
