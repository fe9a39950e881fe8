"""The data sets that are read via torchvision, and the binarized MNIST."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch

from pyro_exact.checks import printable
from pyro_exact.data.dataset import Dataset
from pyro_exact.data.images import Images
from pyro_exact.data.npz import npz
from pyro_exact.data.options import Options
from pyro_exact.data.split import Split, assemble
from pyro_exact.data.vision_rows import SIZE, central_crop, decoded, random_crop

SHAPE = (3, SIZE, SIZE)


class Parts(NamedTuple):
    """The splits that a data set comes with."""

    train: Split
    test: Split
    valid: Split | None = None


class Source(NamedTuple):
    """The reader of a data set.

    Args:
        folder: The folder that the root must contain, for error messages.
        read: A function from (root, download) to splits.
    """

    folder: str
    read: Callable[[Path, bool], Parts]


def vision(name: str, options: Options) -> Images:
    """Read a data set that torchvision knows.

    - mnist, fashion_mnist: 28x28 grey. cifar10, svhn (without the "extra" images): 32x32 RGB. All
      have labels.
    - celeba: the aligned images, their central 148x148 pixels resized to 64x64, as in Dinh et al.
      (2017), with a validation split.
    - lsun_bedroom (or lsun), lsun_tower, lsun_church_outdoor: shorter side resized to 96, then
      64x64 pixels at a random place, as in Dinh et al. (2017), who draw this place anew each time;
      here it is drawn once for each image. Test is LSUN's "val", which has 300 images. This needs
      the package lmdb. torchvision leaves an index named ``_cache_...`` in the current directory.

    CelebA and LSUN are decoded batch by batch, by worker processes, if they take more than 1 GB.

    Args:
        name: The data set, a key of `SOURCES`.
        options: The root, whether to download, and the validation split.

    Raises:
        FileNotFoundError: If the data are not there, or incomplete.
        ModuleNotFoundError: If the package lmdb is missing, for LSUN.
        OSError: If the download failed.
        ValueError: If the data are damaged.

    Reference:
        Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio (2017), Density estimation using Real NVP,
        section 4.1.
    """
    source, root = SOURCES[name], options.need_root(name)
    where = f"{name} expects its data in {printable(root / source.folder)}"
    damaged = ValueError(
        f"{where}; got files that are damaged. Delete them and download them again."
    )
    try:
        parts = source.read(root, options.download)
    except (RuntimeError, URLError) as error:
        if options.download:
            raise OSError(
                f"{name}: the download to {printable(root)} failed: {error}. Check the network and "
                f"the disk."
            ) from error
        # For absent files, and for files with a wrong checksum, torchvision has only these words.
        if "not found" not in str(error):
            raise damaged from error
        raise FileNotFoundError(
            f"{where}; got nothing, or a part of it. Pass another root (--data-root), or "
            f"download=True (--download)."
        ) from error
    except (AssertionError, EOFError, KeyError, TypeError, ValueError) as error:
        raise damaged from error

    return assemble(name, parts.train, parts.valid, parts.test, 256, options.fraction, options.seed)


def binarized_mnist(options: Options) -> Dataset:
    """Read the fixed binarization of MNIST by Larochelle, with a validation split, without labels.

    Args:
        options: The root.

    Raises:
        FileNotFoundError: If the file is neither in the root nor in the subfolder BinarizedMNIST.
    """
    root = options.need_root("binarized_mnist")
    places = [root / "binarized_mnist.npz", root / "BinarizedMNIST" / "binarized_mnist.npz"]
    for place in places:
        if place.is_file():
            return npz(place, "binarized_mnist", options)

    raise FileNotFoundError(
        f"binarized_mnist expects the file {printable(places[0])} or {printable(places[1])}; got "
        f"neither. It cannot be downloaded here: write it with numpy.savez, as uint8 arrays train, "
        f"valid and test of shape (N, 28, 28) that hold 0 and 1."
    )


def _mnist(root: Path, download: bool) -> Parts:
    from torchvision.datasets import MNIST

    def split(train: bool) -> Split:
        return _grey(MNIST(root, train=train, download=download))

    return Parts(train=split(True), test=split(False))


def _fashion_mnist(root: Path, download: bool) -> Parts:
    from torchvision.datasets import FashionMNIST

    def split(train: bool) -> Split:
        return _grey(FashionMNIST(root, train=train, download=download))

    return Parts(train=split(True), test=split(False))


def _grey(dataset: Any) -> Split:
    return Split(dataset.data.unsqueeze(1), dataset.targets)


def _cifar10(root: Path, download: bool) -> Parts:
    from torchvision.datasets import CIFAR10

    def split(train: bool) -> Split:
        dataset = CIFAR10(root, train=train, download=download)
        pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return Split(pixels, torch.tensor(dataset.targets))

    return Parts(train=split(True), test=split(False))


def _svhn(root: Path, download: bool) -> Parts:
    from torchvision.datasets import SVHN

    def split(name: str) -> Split:
        dataset = SVHN(root, split=name, download=download)
        return Split(torch.from_numpy(dataset.data).contiguous(), torch.from_numpy(dataset.labels))

    return Parts(train=split("train"), test=split("test"))


def _celeba(root: Path, download: bool) -> Parts:
    from torchvision.datasets import CelebA

    def split(name: str) -> Split:
        read = partial(CelebA, root, split=name, download=download)
        return Split(decoded(read, central_crop, SHAPE))

    return Parts(train=split("train"), valid=split("valid"), test=split("test"))


def _lsun(category: str) -> Source:
    def read(root: Path, download: bool) -> Parts:
        _check_lsun(root, category)

        from torchvision.datasets import LSUN

        def split(name: str) -> Split:
            read = partial(LSUN, str(root), classes=[f"{category}_{name}"])
            return Split(decoded(read, random_crop, SHAPE))

        return Parts(train=split("train"), test=split("val"))

    return Source(f"{category}_train_lmdb", read)


def _check_lsun(root: Path, category: str) -> None:
    """Raise an error if the data or the required package are missing."""
    for name in ("train", "val"):
        place = root / f"{category}_{name}_lmdb"
        if not place.is_dir():
            raise FileNotFoundError(
                f"lsun expects the folder {printable(place)}; got none, and torchvision cannot "
                f"download it. Download it from the authors of LSUN and unpack it there."
            )
    if find_spec("lmdb") is None:
        raise ModuleNotFoundError("lsun expects the package lmdb; got none. Run pip install lmdb.")


SOURCES = {
    "mnist": Source("MNIST/raw", _mnist),
    "fashion_mnist": Source("FashionMNIST/raw", _fashion_mnist),
    "cifar10": Source("cifar-10-batches-py", _cifar10),
    "svhn": Source("train_32x32.mat", _svhn),
    "celeba": Source("celeba", _celeba),
    "lsun_bedroom": _lsun("bedroom"),
    "lsun_tower": _lsun("tower"),
    "lsun_church_outdoor": _lsun("church_outdoor"),
}
