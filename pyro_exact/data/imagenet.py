"""ImageNet at 32x32 and 64x64 pixels, in both published versions, which are different data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.archive import array_in_archive, read_arrays
from pyro_exact.data.dataset import Rows
from pyro_exact.data.image_files import Form, decode
from pyro_exact.data.image_rows import ImageFiles, Names
from pyro_exact.data.images import Images
from pyro_exact.data.mapped import Joined, Mapped
from pyro_exact.data.options import Options
from pyro_exact.data.pickle_values import Span, StoredArray
from pyro_exact.data.pickled import elements, read_pickle
from pyro_exact.data.split import Split, assemble
from pyro_exact.data.views import changed

CLASSES = 1000


class Version(NamedTuple):
    """A version of ImageNet.

    Attributes:
        size: Side of an image in pixels.
        is_png: Whether it is the folders of PNG files; otherwise it is batches.
    """

    size: int
    is_png: bool


IMAGENET = {
    "imagenet32_oord": Version(32, True),
    "imagenet64_oord": Version(64, True),
    "imagenet32_chrabaszcz": Version(32, False),
    "imagenet64_chrabaszcz": Version(64, False),
}


def imagenet(name: str, options: Options) -> Images:
    """Read a version of ImageNet; its validation images are test, and valid is held out of train.

    - ``imagenet32_oord``, ``imagenet64_oord`` (van den Oord et al., 2016): folders
      ``train_32x32`` and ``valid_32x32`` of PNG files, without labels; 49,999 test images. Results
      of PixelRNN, Glow and Flow++ are of this version.
    - ``imagenet32_chrabaszcz``, ``imagenet64_chrabaszcz`` (Chrabaszcz et al., 2017): files
      ``train_data_batch_1``, ... and ``val_data``, pickles or .npz, with labels; 50,000 test
      images. They were scaled by averages over boxes, and need 0.1 to 0.3 bits/dim less.

    The images stay in the files, and batches read them. Pickles are not run; see
    `pyro_exact.data.pickled`.

    Args:
        name: The version, a key of `IMAGENET`.
        options: The root, and the validation split.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If a file is damaged, or has images of another size.

    Reference:
        van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks,
        section 5.
        Chrabaszcz, Loshchilov and Hutter (2017), A Downsampled Variant of ImageNet as an
        Alternative to the CIFAR datasets.
    """
    root = options.need_root(name)
    version = IMAGENET[name]
    read = _png_split if version.is_png else _batch_split

    train = read(name, root, version.size, "train")
    test = read(name, root, version.size, "valid")
    return assemble(name, train, None, test, 256, options.fraction, options.seed)


def _png_split(name: str, root: Path, size: int, part: str) -> Split:
    """Return the images of a folder of PNG files, which are decoded by workers."""
    folder = root / f"{part}_{size}x{size}"
    if not folder.is_dir():
        raise _absent(name, folder)

    files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() == ".png")
    if not files:
        raise _absent(name, folder / "*.png")

    # Folders of a million files are not read in advance; a batch checks the files that it reads.
    shape = 3, size, size
    if (got := decode(files[0], Form()).shape) != shape:
        raise _other_shape(files[0], got, shape)
    return Split(ImageFiles(Names(files), shape, Form()))


def _batch_split(name: str, root: Path, size: int, part: str) -> Split:
    """Return the images and labels of all batches of a split."""
    stem = "train_data_batch_" if part == "train" else "val_data"
    files = _batch_files(root, stem)
    if not files:
        raise _absent(name, root / (f"{stem}1, ..." if part == "train" else stem))

    rows, labels = [], []
    for file in files:
        read = _npz_batch if file.suffix == ".npz" else _pickled_batch
        images, classes = read(file)

        got, expected = tuple(images.shape[1:]), (3 * size**2,)
        if got != expected or images.dtype != torch.uint8:
            raise _other_shape(file, got, expected)
        rows.append(changed(images, _Square(size)))
        labels.append(_labels(classes, len(images), file))
    return Split(Joined(rows), torch.cat(labels))


def _batch_files(root: Path, stem: str) -> list[Path]:
    """Return the files of the batches in order; an .npz file is used where there is no pickle."""
    if not root.is_dir():
        return []

    found = {}
    # In reverse order an .npz file comes before the pickle of the same number, which replaces it.
    for entry in sorted(root.iterdir(), reverse=True):
        if not entry.name.startswith(stem):
            continue
        number = entry.name.removeprefix(stem).removesuffix(".npz") or "0"
        if number.isdecimal():
            found[int(number)] = entry
    return [found[number] for number in sorted(found)]


def _npz_batch(file: Path) -> tuple[Rows, Any]:
    """Return images and labels of an .npz batch; without compression, images stay in the file."""
    if (stored := array_in_archive(file, "data")) is not None:
        header, offset = stored
        images: Rows = Mapped(file, offset, header.shape, header.dtype)
        arrays = read_arrays(file, ("labels",)).arrays
    else:
        arrays = read_arrays(file, ("data", "labels")).arrays
        images = _tensor(arrays.get("data"), file)
    return images, arrays.get("labels")


def _pickled_batch(file: Path) -> tuple[Rows, Any]:
    """Return images and labels of a pickled batch; the images stay in the file if they can."""
    batch = read_pickle(file)
    if not isinstance(batch, dict) or not isinstance(batch.get("data"), StoredArray):
        raise _no_batch(file)

    data, labels = batch["data"], batch.get("labels")
    if isinstance(labels, StoredArray):
        labels = elements(file, labels)

    content = data.content
    if isinstance(content, Span) and not content.is_text and content.size == data.size():
        return Mapped(file, content.offset, data.shape, data.dtype), labels
    return _tensor(elements(file, data), file), labels


def _tensor(array: Any, file: Path) -> Tensor:
    if array is None:
        raise _no_batch(file)
    return torch.from_numpy(np.array(array))


def _labels(labels: Any, count: int, file: Path) -> Tensor:
    """Return classes from 0 on; the files number them from 1."""
    array = np.asarray([] if labels is None else labels)
    fits = array.dtype.kind in "iu" and array.shape == (count,)
    if not fits or array.min() < 1 or array.max() > CLASSES:
        raise ValueError(
            f"{printable(file)} expects {count} labels from 1 to {CLASSES}; got others. Download "
            f"it again."
        )
    return torch.from_numpy(array.astype(np.int64)) - 1


class _Square:
    """Rows of 3 x size x size elements as images."""

    def __init__(self, size: int) -> None:
        self.shape = (3, size, size)

    def __call__(self, x: Tensor) -> Tensor:
        return x.view(-1, *self.shape)


def _absent(name: str, place: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"{name} expects {printable(place)}; got none. Download it from its authors, unpack it "
        f"there, and pass that folder as root (--data-root)."
    )


def _other_shape(file: Path, got: Sequence[int], expected: Sequence[int]) -> ValueError:
    return ValueError(
        f"{printable(file)} expects images of shape {tuple(expected)}; got {tuple(got)}. Choose "
        f"the data set of the right size."
    )


def _no_batch(file: Path) -> ValueError:
    return ValueError(
        f"{printable(file)} expects arrays data and labels; got none. Download it again from its "
        f"authors."
    )
