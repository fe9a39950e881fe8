"""Data sets in one .npz file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.data.images import SPLITS, Images
from pyro_exact.data.split import Split, assemble

# What numpy and zipfile raise on bytes that are not, or are no longer, an archive of plain arrays.
_DAMAGED = (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)

_READ = (*SPLITS, *(f"{split}_labels" for split in SPLITS), "levels")


def npz(path: Path, name: str, fraction: float, seed: int) -> Images:
    """Read a .npz file.

    Args:
        path: a file with uint8 arrays `train`, `test` and perhaps `valid`; perhaps integer arrays `train_labels`,
            `valid_labels` and `test_labels`; perhaps a whole number `levels`. Without `levels`, images whose pixels
            are all 0 or 1 have 2 levels and all others 256, so any other number has to be stored.
        name: name of the data set.
        fraction: share of train that becomes valid, if the file has no `valid`.
        seed: which images these are.

    Shape:
        - train, valid, test: (N, C, H, W); (N, H, W) for grey images; or (N, D) for vectors, which become images of one
          row.
        - labels: (N,).

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: an array has another dtype.
        ValueError: the file is damaged, lacks an array or holds one of the wrong shape.
    """
    arrays = _read(path)
    missing = [key for key in ("train", "test") if key not in arrays]
    if missing:
        raise ValueError(
            f"{path}: expected arrays train and test (valid is optional); found {', '.join(arrays) or 'none'}. "
            f"Add {' and '.join(missing)}."
        )
    splits = {split: _split(arrays, split, path) for split in SPLITS if split in arrays}
    levels = _levels(arrays.get("levels"), list(splits.values()), path)
    return assemble(name, splits["train"], splits.get("valid"), splits["test"], levels, fraction, seed)


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays that have a meaning here; of the others only the names, with nothing in them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give the path of a .npz file.")
    # numpy takes bytes that are no archive for a pickle, and would advise the user to allow that.
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected a .npz file; it is damaged or of another kind. Write it with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] if key in _READ else np.empty(0) for key in archive.files}
    except _DAMAGED as error:
        raise ValueError(
            f"{path}: the file cannot be read as arrays of numbers: {error}. Write it again with numpy.savez."
        ) from error


def _split(arrays: dict[str, NDArray[np.generic]], split: str, path: Path) -> Split:
    labels = arrays.get(f"{split}_labels")
    images = _images(arrays[split], f"{path}: {split}")
    return Split(images, None if labels is None else _labels(labels, len(images), f"{path}: {split}_labels"))


def _images(array: NDArray[np.generic], subject: str) -> Tensor:
    if array.dtype != np.uint8:
        raise TypeError(f"{subject}: expected pixel levels as uint8; got {array.dtype}{_advice(array)}")
    if array.ndim not in (2, 3, 4):
        raise ValueError(
            f"{subject}: expected shape (N, C, H, W), (N, H, W) or, for vectors, (N, D); got {array.shape}. Reshape it."
        )
    if array.size == 0:
        raise ValueError(f"{subject}: expected at least one image; got shape {array.shape}. Add images.")
    images = torch.from_numpy(np.ascontiguousarray(array))
    return images if array.ndim == 4 else images.unsqueeze(1) if array.ndim == 3 else images[:, None, None]


def _advice(array: NDArray[np.generic]) -> str:
    """What is wrong with images of another dtype, and what to do."""
    if array.dtype.kind not in "biuf":
        return ". Store whole numbers from 0 to 255."
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        return ", with NaN or infinite values. Repair these images, then store them with .astype('uint8')."
    if (numbers != np.round(numbers)).any():
        return ", with values that are not whole. Undo any scaling, as in (255 * x).round().astype('uint8')."
    if numbers.size and (numbers.min() < 0 or numbers.max() > 255):
        return f", with values from {numbers.min():g} to {numbers.max():g}. Bring them to 0, ..., 255 first."
    return ". Store them with .astype('uint8')."


def _labels(array: NDArray[np.generic], count: int, subject: str) -> Tensor:
    if array.dtype.kind not in "iu":
        raise TypeError(f"{subject}: expected integers; got {array.dtype}. Number the classes 0, 1, ...")
    if array.shape != (count,):
        raise ValueError(
            f"{subject}: expected shape ({count},), one label an image; got {array.shape}. "
            "Store the labels of these images."
        )
    return torch.from_numpy(array.astype(np.int64))


def _levels(levels: NDArray[np.generic] | None, splits: list[Split], path: Path) -> int:
    if levels is None:
        return 2 if all(split.images.max() <= 1 for split in splits) else 256
    if levels.dtype.kind not in "iu" or levels.size != 1 or not 2 <= levels.item() <= 256:
        got = levels.item() if levels.size == 1 else f"an array of shape {levels.shape}"
        raise ValueError(
            f"{path}: levels: expected one whole number from 2 to 256; got {got}. "
            "Store how many values a pixel can take."
        )
    return int(levels.item())
