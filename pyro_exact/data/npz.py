"""Read a data set from an .npz file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.archive import read_arrays
from pyro_exact.data.arrays import ArrayDataset
from pyro_exact.data.dataset import SPLITS, Dataset
from pyro_exact.data.images import Images, is_channels_last
from pyro_exact.data.note import listed, note
from pyro_exact.data.options import Options
from pyro_exact.data.split import ALIASES, Split, assemble
from pyro_exact.data.table import Table, make_table
from pyro_exact.data.table_files import columns_of, hold_out_rows
from pyro_exact.data.views import changed, highest

Array = NDArray[np.generic]

_KNOWN = (*SPLITS, *(f"{split}_labels" for split in SPLITS), "levels")
_ALIASES = {
    alias + suffix: split + suffix for alias, split in ALIASES.items() for suffix in ("", "_labels")
}

_LARGEST_LABEL = 2**31 - 1
_AT_ONCE = 2**20  # elements that are checked together


def npz(path: Path, name: str, options: Options) -> Dataset:
    """Read a data set from an .npz file.

    Args:
        path: A file with uint8 arrays ``train``, ``test`` and optionally ``valid`` (or ``val``);
            optionally integer arrays ``train_labels``, ``valid_labels`` and ``test_labels``;
            optionally an integer ``levels``. By default, images whose pixels are all 0 or 1 have 2
            levels and all other images 256, so other levels must be stored. Other arrays are named
            in a `DataWarning`, and not used.
        name: Name of the data set.
        options: The fraction of ``train`` that becomes the validation split, if the file has none,
            the seed of the choice of these images, and declared columns of a table.

    Shape:
        - train, valid, test: (N, C, H, W); (N, H, W) for grey images; or (N, D) for vectors of
          uint8 levels. Floats and other integers of shape (N, D) are a table. Images of at least 5
          x 5 pixels with 1, 3 or 4 channels in the last dimension, (N, H, W, C), are transposed,
          and a `DataWarning` says so.
        - labels: (N,).

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If an array has another dtype.
        ValueError: If the file is damaged, declares more than the file can hold, lacks an array or
            has an array of a wrong shape.
    """
    found = read_arrays(path, (*_KNOWN, *_ALIASES))
    arrays = _renamed(found.arrays, path)

    missing = [key for key in ("train", "test") if key not in arrays]
    if missing:
        got = listed([*arrays, *found.others]) or "none"
        raise ValueError(
            f"{printable(path)} expects arrays train and test (valid is optional); got {got}. "
            f"Add {' and '.join(missing)}."
        )
    if found.others:
        note(
            f"{printable(path)}: not read: {listed(found.others)}. Known arrays are "
            f"{', '.join(_KNOWN)}."
        )

    if _is_table(arrays):
        return _table(arrays, name, options)

    splits = {split: _split(arrays, split, path) for split in SPLITS if split in arrays}
    levels = _levels(arrays.get("levels"), list(splits.values()), path)
    images = assemble(
        name,
        splits["train"],
        splits.get("valid"),
        splits["test"],
        levels,
        options.fraction,
        options.seed,
    )
    return _vectors(images) if arrays["train"].ndim == 2 else images


def _vectors(images: Images) -> ArrayDataset:
    """Return vectors (N, D) that were assembled as images of one row."""
    labels = {split: images.labels(split) for split in SPLITS}
    return ArrayDataset(
        images.name,
        changed(images.train, _flat),
        changed(images.valid, _flat),
        changed(images.test, _flat),
        images.levels,
        labels_of={split: each for split, each in labels.items() if each is not None},
    )


def _flat(images: Tensor) -> Tensor:
    return images.flatten(1)


def _is_table(arrays: Mapping[str, Array]) -> bool:
    """Return whether all splits are vectors of numbers other than bytes."""
    splits = [arrays[split] for split in SPLITS if split in arrays]
    return all(array.ndim == 2 and array.dtype.kind in "if" for array in splits)


def _table(arrays: Mapping[str, Array], name: str, options: Options) -> Table:
    """Return the table of the arrays (N, D), with the columns x0, x1, ..."""
    parts = {
        split: columns_of(arrays[split], f"{name}: {split}") for split in SPLITS if split in arrays
    }
    if "valid" not in parts:
        kept, valid, _ = hold_out_rows(
            parts["train"], options.fraction, options.seed, f"{name}: train", test=False
        )
        parts |= {"train": kept, "valid": valid}
    splits = [parts[split] for split in SPLITS]
    return make_table(name, splits, options.columns, options.complete)


def _renamed(arrays: Mapping[str, Array], path: Path) -> dict[str, Array]:
    """Return the arrays under the names used here."""
    renamed: dict[str, Array] = {}
    for key, array in arrays.items():
        known = _ALIASES.get(key, key)
        if known in renamed:
            raise ValueError(
                f"{printable(path)} expects one array {known}; got {key} too. Remove one of them."
            )
        renamed[known] = array
    return renamed


def _split(arrays: Mapping[str, Array], split: str, path: Path) -> Split:
    subject = f"{printable(path)}: {split}"
    images = _images(arrays[split], subject)
    labels = arrays.get(f"{split}_labels")
    if labels is None:
        return Split(images)
    return Split(images, _labels(labels, len(images), f"{subject}_labels"))


def _images(array: Array, subject: str) -> Tensor:
    if array.dtype != np.uint8:
        raise TypeError(
            f"{subject} expects pixel levels as uint8; got {array.dtype}{_advice(array)}"
        )
    if array.ndim not in (2, 3, 4):
        raise ValueError(
            f"{subject} expects shape (N, C, H, W), (N, H, W) or, for vectors, (N, D); got "
            f"{array.shape}. Reshape it."
        )
    if array.size == 0:
        raise ValueError(
            f"{subject} expects at least one image; got shape {array.shape}. Add images."
        )

    if array.ndim == 4 and is_channels_last(array.shape[1:]):
        note(
            f"{subject} of shape {array.shape}: read as (N, H, W, C), channels last, and turned to "
            f"(N, C, H, W)."
        )
        array = np.moveaxis(array, -1, 1)

    images = torch.from_numpy(np.ascontiguousarray(array))
    if array.ndim == 2:
        return images[:, None, None]
    return images.unsqueeze(1) if array.ndim == 3 else images


def _advice(array: Array) -> str:
    """Return the end of a message about images of another dtype: the values, and advice."""
    if array.dtype.kind not in "biuf":
        return ". Store whole numbers from 0 to 255."

    bad = sum(int((~np.isfinite(part)).sum()) for part in _pieces(array))
    if bad:
        return (
            f", with {bad} of {array.size} elements NaN or infinite. Repair these images, then "
            f"store them with .astype('uint8')."
        )
    if any((part.astype(np.float64) % 1).any() for part in _pieces(array)):
        return (
            ", with values that are not whole. Undo any scaling, as in "
            "(255 * x).round().astype('uint8')."
        )

    lowest = min((float(part.min()) for part in _pieces(array)), default=0.0)
    highest = max((float(part.max()) for part in _pieces(array)), default=0.0)
    if lowest < 0 or highest > 255:
        return f", with values from {lowest:g} to {highest:g}. Bring them to 0, ..., 255 first."
    return ". Store them with .astype('uint8')."


def _pieces(array: Array) -> Iterator[Array]:
    """Yield the elements in pieces, because a large file in float64 would need too much memory."""
    flat = array.ravel(order="K")
    for start in range(0, flat.size, _AT_ONCE):
        yield flat[start : start + _AT_ONCE]


def _labels(array: Array, count: int, subject: str) -> Tensor:
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{subject} expects integers; got {array.dtype}. Number the classes 0, 1, ..."
        )
    if array.shape != (count,):
        raise ValueError(
            f"{subject} expects shape ({count},), one label for each image; got {array.shape}. "
            f"Store the labels of these images."
        )

    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > _LARGEST_LABEL:
        raise ValueError(
            f"{subject} expects classes from 0 on; got labels from {lowest} to {highest}. Number "
            f"them 0, 1, ..."
        )
    return torch.from_numpy(array.astype(np.int64))


def _levels(levels: Array | None, splits: list[Split], path: Path) -> int:
    if levels is None:
        return 2 if all(highest(split.images, 2) < 2 for split in splits) else 256

    integer = levels.dtype.kind in "iu" and levels.size == 1
    if not integer or not 2 <= levels.item() <= 256:
        got = repr(levels.item()) if levels.size == 1 else f"an array of shape {levels.shape}"
        raise ValueError(
            f"{printable(path)}: levels expects one whole number from 2 to 256; got {got}. "
            f"Store how many values a pixel can take."
        )
    return int(levels.item())
