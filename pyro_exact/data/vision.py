"""The data sets that torchvision reads, and the binarized MNIST that it does not."""

from collections.abc import Callable, Sized
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.error import URLError

import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.images import Images
from pyro_exact.data.npz import npz
from pyro_exact.data.split import Split, assemble

CELEBA_CROP = 148
LSUN_SHORT_SIDE = 96
SIZE = 64


class Parts(NamedTuple):
    """The splits that a data set comes with."""

    train: Split
    test: Split
    valid: Split | None = None


class Source(NamedTuple):
    """How one data set is read.

    Args:
        folder: The content that the root must have, for error messages.
        read: From (root, download) to splits.
    """

    folder: str
    read: Callable[[Path, bool], Parts]


def vision(name: str, root: Path, download: bool, fraction: float, seed: int) -> Images:
    """Read the data set ``name``, a key of `SOURCES`, from the folder ``root``, laid out as torchvision does.

    - mnist, fashion_mnist: 28x28 grey. cifar10, svhn (without its "extra" images): 32x32 RGB. All
      with labels.
    - celeba: the aligned images, their central 148x148 pixels resized to 64x64, as in Dinh et al.
      (2017); its own validation split. 2.5 GB of memory.
    - lsun_bedroom (or lsun), lsun_tower, lsun_church_outdoor: shorter side resized to 96, then the
      central 64x64 pixels; Dinh et al. (2017) crop at random instead. Test is LSUN's "val", of 300
      images. It needs the package lmdb, and memory for all images (12 kB each: 37 GB for the
      bedrooms, twice that while the validation split is held out). torchvision leaves an index
      named ``_cache_...`` in the current directory.

    Args:
        name: The data set.
        root: The folder that torchvision calls ``root``.
        download: Whether to download what is not there.
        fraction: Share of train that becomes valid, for data sets that come without a validation
            split.
        seed: Which images these are.

    Raises:
        FileNotFoundError: If the data are not there, or incomplete.
        ModuleNotFoundError: If LSUN is asked for without the package lmdb.
        OSError: If the download failed.
        ValueError: If the data are damaged.

    Reference:
        Laurent Dinh, Jascha Sohl-Dickstein, Samy Bengio (2017), Density estimation using Real NVP,
        section 4.1.
    """
    source = SOURCES[name]
    where = f"{name} expects its data in {printable(root / source.folder)}"
    damaged = ValueError(
        f"{where}; got files that are damaged. Delete them and download them again."
    )
    try:
        parts = source.read(root, download)
    except (RuntimeError, URLError) as error:
        if download:
            raise OSError(
                f"{name}: the download to {printable(root)} failed: {error}. Check the network and the disk."
            ) from error
        # torchvision has no other sign for absent files (and for those with a wrong checksum) than
        # these words.
        if "not found" not in str(error):
            raise damaged from error
        raise FileNotFoundError(
            f"{where}; got nothing, or a part of it. Pass another root (--data-root), or download=True (--download)."
        ) from error
    except (AssertionError, EOFError, KeyError, TypeError, ValueError) as error:
        raise damaged from error
    return assemble(name, parts.train, parts.valid, parts.test, 256, fraction, seed)


def binarized_mnist(root: Path, fraction: float, seed: int) -> Images:
    """Larochelle's fixed binarization of MNIST, with its own validation split and without labels.

    Raises:
        FileNotFoundError: If the file is neither in ``root`` nor in its subfolder BinarizedMNIST.
    """
    places = [root / "binarized_mnist.npz", root / "BinarizedMNIST" / "binarized_mnist.npz"]
    for place in places:
        if place.is_file():
            return npz(place, "binarized_mnist", fraction, seed)
    raise FileNotFoundError(
        f"binarized_mnist expects the file {printable(places[0])} or {printable(places[1])}; got neither. It cannot be "
        "downloaded here: write it with numpy.savez, as uint8 arrays train, valid and test of shape (N, 28, 28) that "
        "hold 0 and 1."
    )


def _mnist(root: Path, download: bool) -> Parts:
    from torchvision.datasets import MNIST

    return Parts(*(_grey(MNIST(root, train=train, download=download)) for train in (True, False)))


def _fashion_mnist(root: Path, download: bool) -> Parts:
    from torchvision.datasets import FashionMNIST

    return Parts(
        *(_grey(FashionMNIST(root, train=train, download=download)) for train in (True, False))
    )


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
    from torchvision import transforms
    from torchvision.datasets import CelebA

    crop = transforms.CenterCrop(CELEBA_CROP)
    transform = transforms.Compose(
        [crop, transforms.Resize((SIZE, SIZE)), transforms.PILToTensor()]
    )

    def split(name: str) -> Split:
        return Split(_stack(CelebA(root, split=name, transform=transform, download=download)))

    return Parts(train=split("train"), valid=split("valid"), test=split("test"))


def _lsun(category: str) -> Source:
    def read(root: Path, download: bool) -> Parts:
        from torchvision import transforms
        from torchvision.datasets import LSUN

        for place in (root / f"{category}_{name}_lmdb" for name in ("train", "val")):
            if not place.is_dir():
                raise FileNotFoundError(
                    f"lsun expects the folder {printable(place)}; got none, and torchvision cannot download it. "
                    "Download it from the authors of LSUN and unpack it there."
                )
        if find_spec("lmdb") is None:
            raise ModuleNotFoundError(
                "lsun expects the package lmdb; got none. Run pip install lmdb."
            )
        crop = transforms.CenterCrop(SIZE)
        transform = transforms.Compose(
            [transforms.Resize(LSUN_SHORT_SIDE), crop, transforms.PILToTensor()]
        )

        def split(name: str) -> Split:
            return Split(
                _stack(LSUN(str(root), classes=[f"{category}_{name}"], transform=transform))
            )

        return Parts(train=split("train"), test=split("val"))

    return Source(f"{category}_train_lmdb", read)


class _Pairs(Sized, Protocol):
    def __getitem__(self, index: int) -> tuple[Tensor, object]: ...


def _stack(dataset: _Pairs) -> Tensor:
    """Return the images of (image, target) pairs, uint8 (N, 3, 64, 64), in place: a list of them would double it."""
    images = torch.empty(len(dataset), 3, SIZE, SIZE, dtype=torch.uint8)
    for index in range(len(dataset)):
        images[index] = dataset[index][0]
    return images


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
