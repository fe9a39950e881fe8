"""Read a data set from .npy files, which may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.archive import NpyHeader, read_npy_header
from pyro_exact.data.arrays import ArrayDataset
from pyro_exact.data.dataset import SPLITS, Dataset, Rows
from pyro_exact.data.images import Images, is_channels_last
from pyro_exact.data.mapped import Joined, Mapped
from pyro_exact.data.note import listed, note
from pyro_exact.data.options import Options
from pyro_exact.data.split import ALIASES, Split, held_out_splits
from pyro_exact.data.views import changed, highest, in_memory, pieces, turned, with_channel

TEST_FRACTION = 0.1

# Bytes of an array of vectors that is read as a table, with columns; a larger one is mapped.
LARGEST_TABLE = 2**30


class _Array(NamedTuple):
    """An array in a file: the file and the header."""

    path: Path
    header: NpyHeader


def npy(path: Path, options: Options) -> Dataset:
    """Read a data set from an .npy file, or from a folder of .npy files, batch by batch.

    No file is read into memory, so files may be of any size. A file holds all rows, of which a
    tenth is test, whatever the seed, and a part is valid. A folder holds either ``train.npy``,
    ``test.npy`` and optionally ``valid.npy`` (or subfolders of these names), or parts of a single
    array, which are joined in the order of their names. Beside splits there may be classes in
    ``train_labels.npy``, ``valid_labels.npy`` and ``test_labels.npy``.

    Arrays of uint8 and of shape (N, C, H, W), (N, H, W, C) or (N, H, W) are images, of 2 levels if
    all pixels are 0 or 1, and otherwise of 256. All other arrays are rows of any shape: floats, or
    integers that are levels 0, 1, ...

    Args:
        path: The file or the folder.
        options: The fraction and the seed of the validation split.

    Raises:
        ValueError: If a file is damaged, holds objects, or is not in C order; if shapes or types
            differ; if an element is NaN or infinite.
    """
    name = printable(path.resolve().stem)
    found = _splits(path)
    rows = {split: _rows(arrays, f"{printable(path)}: {split}") for split, arrays in found.items()}

    if {*rows} != {"all"} and not {"train", "test"} <= {*rows}:
        raise ValueError(
            f"{printable(path)} expects train.npy and test.npy (valid.npy is optional), or parts "
            f"of one array; got {' and '.join(rows)}. Add or rename files."
        )

    # Elements are checked in the order of the files, before splits choose rows at random.
    levels = _levels(rows, name)
    if levels is None:
        rows = {split: changed(part, _in_default_dtype) for split, part in rows.items()}

    splits = {split: Split(part, _labels(path, split, part)) for split, part in rows.items()}
    if "all" in splits:
        splits = held_out_splits(splits["all"], TEST_FRACTION, options)
    elif "valid" not in splits:
        kept, held = splits["train"].hold_out(options.fraction, options.seed, name)
        splits |= {"train": kept, "valid": held}

    train, valid, test = (splits[split].images for split in SPLITS)
    labels = [splits[split].labels for split in SPLITS]
    if levels is not None and train.dtype == torch.uint8 and len(train.shape) == 4:
        return Images(name, train, valid, test, levels, *labels)

    present = {split: each for split, each in zip(SPLITS, labels, strict=True) if each is not None}
    return ArrayDataset(name, train, valid, test, levels, present)


def _labels(path: Path, split: str, rows: Rows) -> Tensor | None:
    """Return the classes of a split, or `None` if there is no file of them."""
    file = path / f"{split}_labels.npy"
    if not os.path.isfile(file):
        return None

    header = _array(file).header
    if header.shape != (len(rows),) or header.dtype.kind not in "iu":
        raise ValueError(
            f"{printable(file)} expects {len(rows)} integers, one class for each row; got shape "
            f"{header.shape} of {header.dtype}. Store the labels of these rows."
        )
    labels = Mapped(file, header.offset, header.shape, header.dtype)
    return in_memory(labels).long()


def is_npy(path: Path) -> bool:
    """Return whether a path holds arrays that this module reads.

    These are .npy files and folders of them, except for small files of vectors of floats, or of
    integers other than bytes, which are tables.

    Args:
        path: A file or a folder.
    """
    if not os.path.isdir(path):
        return path.suffix.lower() == ".npy" and not _is_table(path)

    files = _files(path)
    for folder in _split_folders(path).values():
        files += _files(folder)
    return bool(files) and not all(_is_table(file) for file in files)


def _is_table(file: Path) -> bool:
    """Return whether a file holds vectors other than bytes, and fits into memory."""
    if not os.path.isfile(file) or file.stat().st_size > LARGEST_TABLE:
        return False
    header = _array(file).header
    return len(header.shape) == 2 and header.dtype != np.uint8


def _splits(path: Path) -> dict[str, list[_Array]]:
    """Return the arrays of each split, or of ``all`` rows."""
    if not os.path.isdir(path):
        return {"all": [_array(path)]}

    files = _files(path)
    groups = {}
    for split, folder in _split_folders(path).items():
        groups[split] = _files(folder)
    for file in files:
        split = _split_name(file)
        if split in SPLITS:
            groups[split] = [file]

    _note_others(path, groups, files)
    if not groups:
        groups = {"all": files}
    return {split: [_array(file) for file in some] for split, some in groups.items()}


def _note_others(path: Path, groups: Mapping[str, Sequence[Path]], files: Sequence[Path]) -> None:
    """Say which files of a folder are not read."""
    used = {*files} if not groups else {file for some in groups.values() for file in some}
    used |= {*_split_folders(path).values()}
    used |= {path / f"{split}_labels.npy" for split in groups}

    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    others = sorted(entry.name for entry in visible if entry not in used)
    if others:
        note(
            f"{printable(path)}: not read, because it is not an array of a split: {listed(others)}."
        )


def _split_name(entry: Path) -> str:
    """Return the name of a file without its suffix, in lower case; a split under its usual name."""
    name = entry.stem.lower()
    return ALIASES.get(name, name)


def _files(path: Path) -> list[Path]:
    """Return the .npy files of a folder, by name."""
    return sorted(entry for entry in path.iterdir() if entry.suffix.lower() == ".npy")


def _split_folders(path: Path) -> dict[str, Path]:
    """Return the subfolders that are splits."""
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
    named = {_split_name(folder): folder for folder in folders}
    return {split: named[split] for split in SPLITS if split in named}


def _array(path: Path) -> _Array:
    """Read the header of a file, and check that the file is as long as it says."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{printable(path)}: no such file. Pass the path of an .npy file.")
    try:
        with path.open("rb") as file:
            header = read_npy_header(file, path.name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{printable(path)} expects an array of numbers, as numpy.save writes it; got one that "
            f"is damaged, or of another kind: {printable(error)}. Write it with numpy.save."
        ) from error

    size = path.stat().st_size
    declared = header.offset + prod(header.shape) * header.dtype.itemsize
    if declared != size:
        raise ValueError(
            f"{printable(path)} expects {declared:,} bytes, for shape {header.shape} of "
            f"{header.dtype}; got {size:,}. Copy it again."
        )
    if header.dtype.kind not in "iuf" or header.dtype.itemsize > 8:
        raise ValueError(
            f"{printable(path)} expects integers or floats; got {header.dtype}. Convert them first."
        )
    if header.columns_first and len(header.shape) > 1:
        raise ValueError(
            f"{printable(path)} expects rows that stand one after another (C order); got Fortran "
            f"order. Write it with numpy.save(path, numpy.ascontiguousarray(x))."
        )
    return _Array(path, header)


def _rows(arrays: Sequence[_Array], subject: str) -> Rows:
    """Return the rows of several arrays of the same kind; images get the shape (N, C, H, W)."""
    first = arrays[0].header
    for path, header in arrays:
        if len(header.shape) < 2 or header.shape[0] == 0 or prod(header.shape) == 0:
            raise ValueError(
                f"{printable(path)} expects rows, of shape (N, ...); got {header.shape}. Reshape "
                f"the array."
            )
        if header.shape[1:] != first.shape[1:] or header.dtype != first.dtype:
            raise ValueError(
                f"{printable(path)} expects rows of shape {first.shape[1:]} of {first.dtype}, as "
                f"in {printable(arrays[0].path.name)}; got {header.shape[1:]} of {header.dtype}. "
                f"Bring all files to one form."
            )

    parts = [Mapped(path, header.offset, header.shape, header.dtype) for path, header in arrays]
    rows: Rows = Joined(parts) if len(parts) > 1 else parts[0]
    return _as_images(rows, subject) if first.dtype == np.uint8 else rows


def _as_images(rows: Rows, subject: str) -> Rows:
    """Return grey images with a channel, and images with their channels first."""
    if len(rows.shape) == 3:
        return changed(rows, with_channel)
    if len(rows.shape) == 4 and is_channels_last(rows.shape[1:]):
        note(
            f"{subject} of shape {tuple(rows.shape)}: read as (N, H, W, C), channels last, and "
            f"turned to (N, C, H, W)."
        )
        return changed(rows, turned)
    return rows


def _levels(rows: Mapping[str, Rows], name: str) -> int | None:
    """Return the levels of integers, and `None` for floats, which must be finite.

    Bytes have 2 levels if all are 0 or 1, and otherwise 256; other integers as many as needed.
    """
    if next(iter(rows.values())).dtype.is_floating_point:
        for split, part in rows.items():
            _check_finite(part, f"{name}: {split}")
        return None

    if next(iter(rows.values())).dtype == torch.uint8:
        return 2 if all(highest(part, 2) < 2 for part in rows.values()) else 256
    return max(_highest_level(part, f"{name}: {split}") for split, part in rows.items()) + 1


def _check_finite(rows: Rows, subject: str) -> None:
    bad = sum(int((~piece.isfinite()).sum()) for piece in pieces(rows))
    if bad:
        raise ValueError(
            f"{subject} expects finite elements; got {bad} of {prod(rows.shape)} NaN or infinite. "
            f"Repair these rows, or leave them out."
        )


def _highest_level(rows: Rows, subject: str) -> int:
    lowest = min(int(piece.min()) for piece in pieces(rows))
    if lowest < 0:
        raise ValueError(
            f"{subject} expects integers that are levels 0, 1, ...; got {lowest}. Store floats for "
            f"real elements."
        )
    return max(highest(rows), 1)


def _in_default_dtype(rows: Tensor) -> Tensor:
    return rows.to(torch.get_default_dtype())
