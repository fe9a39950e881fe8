"""Data sets, the check of images and the batches: exact counts, disjoint splits, resumption, error messages."""

import struct
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, Images, check_images, load, nearest
from pyro_exact.data.split import Split

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def rows(x):
    return {bytes(image.numpy().tobytes()) for image in x}


# Images


def test_images_knows_its_shape_and_splits():
    train, other = pixels(5, 3, 4, 6), pixels(2, 3, 4, 6, seed=1)
    images = Images("toy", train, other, other, levels=256, train_labels=torch.arange(5))
    assert images.shape == (3, 4, 6)
    assert images.split("train") is train
    assert images.labels("train").tolist() == [0, 1, 2, 3, 4]
    assert images.labels("test") is None
    assert repr(images) == "Images('toy', shape=(3, 4, 6), levels=256, train=5, valid=2, test=2)"
    with pytest.raises(
        ValueError, match=r"Images toy expects a split out of train, valid, test; got 'eval'"
    ):
        images.split("eval")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"train": pixels(5, 1, 4, 4).float()},
            TypeError,
            r"expects train images of uint8 .* got torch.float32",
        ),
        ({"test": [[1]]}, TypeError, r"expects test images as a tensor; got list"),
        (
            {"valid": pixels(5, 4, 4)},
            ValueError,
            r"expects valid images of shape \(N, C, H, W\); got \(5, 4, 4\)",
        ),
        ({"valid": pixels(5, 1, 4, 4)[:0]}, ValueError, r"expects valid images, at least one"),
        (
            {"test": pixels(5, 1, 4, 5)},
            ValueError,
            r"expects test images of shape \(1, 4, 4\), as in train; got \(1, 4, 5\)",
        ),
        (
            {"levels": 17},
            ValueError,
            r"expects train images with pixels from 0 to 16 \(17 levels\); got 255",
        ),
        ({"levels": 257}, ValueError, r"expects levels from 2 to 256; got 257"),
        (
            {"train_labels": torch.zeros(5)},
            TypeError,
            r"expects train labels of int64; got torch.float32",
        ),
        (
            {"test_labels": torch.arange(4)},
            ValueError,
            r"expects test labels of shape \(5,\).* got \(4,\)",
        ),
        (
            {"valid_labels": torch.arange(5) - 1},
            ValueError,
            r"expects valid labels from 0 on; got -1",
        ),
    ],
)
def test_images_names_what_is_wrong(change, error, match):
    x = pixels(5, 1, 4, 4)
    with pytest.raises(error, match=match):
        Images(**({"name": "toy", "train": x, "valid": x, "test": x, "levels": 256} | change))


# Bundled data sets


def test_digits():
    images = load("digits", seed=0)
    other = load("Digits", seed=1, valid_fraction=0.2)
    assert images.shape == (1, 8, 8)
    assert images.levels == 17
    assert [len(images.split(split)) for split in ("train", "valid", "test")] == [1257, 140, 400]
    assert len(other.valid) == 279
    assert torch.equal(images.test, other.test)
    assert not torch.equal(images.valid, other.valid[:140])
    assert int(images.train.max()) == 16
    counts = torch.bincount(
        torch.cat([images.train_labels, images.valid_labels, images.test_labels])
    )
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(("fraction", "band"), [(None, 32), (0.01, 32), (0.3, 96), (0.99, 288)])
def test_photos_splits_share_no_pixel(monkeypatch, fraction, band):
    """With every pixel of both photographs replaced by its column, the patches tell where they came from."""
    import sklearn.datasets

    real = sklearn.datasets.load_sample_images().images
    assert [picture.shape for picture in real] == [(427, 640, 3)] * 2
    columns = [
        np.broadcast_to((np.arange(640) // 8).astype(np.uint8)[None, :, None], (427, 640, 3))
    ] * 2
    monkeypatch.setattr(
        sklearn.datasets, "load_sample_images", lambda: type("Bunch", (), {"images": columns})
    )
    images = load("photos", valid_fraction=fraction)
    assert images.shape == (3, 32, 32)
    assert set(images.train.unique().tolist()) == set(range((320 - band) // 8))
    assert set(images.valid.unique().tolist()) == set(range((320 - band) // 8, 40))
    assert set(images.test.unique().tolist()) == set(range(40, 80))
    assert len(images.valid) == 2 * 13 * band // 32
    assert len(images.test) == 2 * 13 * 10
    assert len(images.train) == 2 * 50 * ((320 - band - 32) // 8 + 1)


def test_photos_are_the_photographs():
    from sklearn.datasets import load_sample_images

    china, flower = (
        torch.tensor(picture).permute(2, 0, 1) for picture in load_sample_images().images
    )
    images = load("photos")
    assert torch.equal(images.train[0], china[:, :32, :32])
    assert torch.equal(images.train[1], china[:, :32, 8:40])
    assert torch.equal(images.test[-1], flower[:, 384:416, 608:640])


# torchvision


def write_idx(folder, stem, array):
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">{1 + array.ndim}i", 0x800 + array.ndim, *array.shape)
    (folder / stem).write_bytes(header + array.numpy().tobytes())


def write_mnist(folder):
    for part, count in (("train", 20), ("t10k", 6)):
        write_idx(folder, f"{part}-images-idx3-ubyte", pixels(count, 28, 28))
        write_idx(folder, f"{part}-labels-idx1-ubyte", (torch.arange(count) % 10).to(torch.uint8))


@pytest.mark.parametrize(
    ("name", "folder"),
    [("fashion_mnist", "FashionMNIST"), ("FashionMNIST", "FashionMNIST"), ("MNIST", "MNIST")],
)
def test_idx_files(tmp_path, name, folder):
    write_mnist(tmp_path / folder / "raw")
    images = load(name, tmp_path, valid_fraction=0.25)
    assert repr(images).endswith("shape=(1, 28, 28), levels=256, train=15, valid=5, test=6)")
    assert rows(images.train) | rows(images.valid) == rows(pixels(20, 28, 28))
    label_of = {image.numpy().tobytes(): i % 10 for i, image in enumerate(pixels(20, 28, 28))}
    assert images.valid_labels.tolist() == [
        label_of[image.numpy().tobytes()] for image in images.valid
    ]


def test_damaged_idx_files(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"mnist expects .*MNIST.raw; got files that are damaged"):
        load("mnist", tmp_path)


def test_mnist_itself():
    if not (SHARED / "MNIST").is_dir():
        pytest.skip("MNIST is not in ../shared/data")
    images = load("mnist", SHARED)
    assert (
        repr(images)
        == "Images('mnist', shape=(1, 28, 28), levels=256, train=54000, valid=6000, test=10000)"
    )
    assert images.train.float().mean() / 255 == pytest.approx(0.1307, abs=1e-3)


def test_binarized_mnist_itself():
    if not (SHARED / "BinarizedMNIST").is_dir():
        pytest.skip("BinarizedMNIST is not in ../shared/data")
    images = load("binarized_mnist", SHARED)
    assert repr(images).endswith(
        "shape=(1, 28, 28), levels=2, train=50000, valid=10000, test=10000)"
    )
    assert torch.equal(
        images.test, load("binarized-mnist", SHARED / "BinarizedMNIST", valid_fraction=0.5).test
    )


class FakeVision:
    """Stands for a torchvision data set too large to have here; an image's grey level tells which one it is."""

    def __init__(self, root, split="", classes=(), train=None, transform=None, download=False):
        key = split or "".join(classes).rsplit("_", 1)[-1] or {True: "train", False: "test"}[train]
        self.base, self.count = {
            "train": (0, 12),
            "valid": (50, 3),
            "val": (50, 3),
            "test": (100, 4),
        }[key]
        self.transform = transform
        levels = np.arange(self.base, self.base + self.count, dtype=np.uint8)
        self.data = np.broadcast_to(levels[:, None, None, None], (self.count, 32, 32, 3)).copy()
        self.targets = list(range(self.count))
        self.labels = np.arange(self.count)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        picture = Image.new("RGB", (178, 218), (0, 0, 0))
        # Only what a crop may keep is painted: black at the border of the result would show a wrong
        # crop.
        picture.paste((self.base + index,) * 3, (15, 35, 163, 183))
        return self.transform(picture), index


def test_cifar10_and_svhn(monkeypatch, tmp_path):
    class Svhn(FakeVision):
        def __init__(self, root, **options):
            super().__init__(root, **options)
            self.data = self.data.transpose(0, 3, 1, 2)

    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeVision)
    monkeypatch.setattr("torchvision.datasets.SVHN", Svhn)
    for name in ("cifar-10", "SVHN"):
        images = load(name, tmp_path)
        assert repr(images).endswith("shape=(3, 32, 32), levels=256, train=11, valid=1, test=4)")
        assert torch.equal(images.train[:, 0, 0, 0].long(), images.train_labels)


def test_celeba_keeps_its_splits_and_its_middle(monkeypatch, tmp_path):
    monkeypatch.setattr("torchvision.datasets.CelebA", FakeVision)
    images = load("CelebA", tmp_path, valid_fraction=0.5)
    assert (
        repr(images) == "Images('celeba', shape=(3, 64, 64), levels=256, train=12, valid=3, test=4)"
    )
    assert torch.equal(
        images.valid, torch.arange(50, 53, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 64, 64)
    )


def test_lsun(monkeypatch, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"bedroom_train_lmdb; .* torchvision cannot download it"
    ):
        load("lsun", tmp_path, download=True)
    for part in ("train", "val"):
        (tmp_path / f"bedroom_{part}_lmdb").mkdir()
    monkeypatch.setattr("pyro_exact.data.vision.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install lmdb"):
        load("lsun", tmp_path)
    monkeypatch.setattr("pyro_exact.data.vision.find_spec", lambda name: name)
    monkeypatch.setattr("torchvision.datasets.LSUN", FakeVision)
    images = load("lsun", tmp_path)
    assert (
        repr(images)
        == "Images('lsun_bedroom', shape=(3, 64, 64), levels=256, train=11, valid=1, test=3)"
    )
    assert images.test[:, 0, 32, 32].tolist() == [50, 51, 52]


def test_failed_download(monkeypatch, tmp_path):
    def fail(*args, **options):
        raise RuntimeError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with pytest.raises(OSError, match=r"mnist: the download to .* failed: no route to host"):
        load("mnist", tmp_path, download=True)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST"),
        ("fashion_mnist", "FashionMNIST"),
        ("cifar10", "cifar-10-batches-py"),
        ("svhn", "train_32x32.mat"),
        ("celeba", "celeba"),
    ],
)
def test_absent_data(tmp_path, name, folder):
    with pytest.raises(
        FileNotFoundError,
        match=rf"{name} expects its data in .*nowhere.{folder}.*download=True \(--download\)",
    ):
        load(name, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"name": "mnits"},
            ValueError,
            r"got 'mnits'. Did you mean mnist.* The names are digits, photos, .*celeba",
        ),
        (
            {"name": ""},
            ValueError,
            r"load expects the name of a data set, an .npz file or a folder; got ''",
        ),
        (
            {"name": "no/such/folder"},
            FileNotFoundError,
            r"no/such/folder: load expects an .npz file or a folder of images; got neither",
        ),
        ({"name": "absent.npz"}, FileNotFoundError, r"absent.npz: no such file"),
        ({"name": "mnist"}, ValueError, r"mnist expects root, the folder .* \(--data-root\)"),
        (
            {"name": "binarized_mnist", "root": "nowhere"},
            FileNotFoundError,
            r"nowhere.BinarizedMNIST.*got neither",
        ),
        ({"name": "digits", "valid_fraction": 0.0}, ValueError, r"above 0 and below 1; got 0.0"),
        ({"name": "digits", "valid_fraction": 1}, ValueError, r"above 0 and below 1; got 1"),
        (
            {"name": "digits", "valid_fraction": float("nan")},
            ValueError,
            r"above 0 and below 1; got nan",
        ),
    ],
)
def test_load_names_what_is_wrong(arguments, error, match):
    with pytest.raises(error, match=match):
        load(**arguments)


# .npz files


def save(path, **arrays):
    np.savez(path, **{key: np.asarray(array) for key, array in arrays.items()})
    return path


@pytest.mark.parametrize(
    ("levels", "stored", "expected"), [(2, None, 2), (17, None, 256), (17, 17, 17), (2, 256, 256)]
)
def test_npz(tmp_path, levels, stored, expected):
    x = {"train": pixels(10, 4, 6, levels=levels), "test": pixels(3, 1, 4, 6, levels=levels)}
    images = load(save(tmp_path / "toy.npz", **x, **({"levels": stored} if stored else {})))
    assert (
        repr(images)
        == f"Images('toy', shape=(1, 4, 6), levels={expected}, train=9, valid=1, test=3)"
    )
    assert rows(images.train) | rows(images.valid) == rows(x["train"])


def test_npz_of_vectors(tmp_path):
    rows_of_bits = np.random.default_rng(0).integers(2, size=(10, 5), dtype=np.uint8)
    images = load(
        save(
            tmp_path / "bits.npz",
            train=rows_of_bits[:6],
            valid=rows_of_bits[6:8],
            test=rows_of_bits[8:],
        )
    )
    assert repr(images) == "Images('bits', shape=(1, 1, 5), levels=2, train=6, valid=2, test=2)"
    assert np.array_equal(images.train.flatten(1), rows_of_bits[:6])


def test_npz_keeps_valid_and_labels(tmp_path):
    x = pixels(4, 3, 2, 2)
    labels = np.arange(4, dtype=np.uint8)
    images = load(
        save(
            tmp_path / "a.npz",
            train=x,
            valid=x[:3],
            test=x[:2],
            train_labels=labels,
            test_labels=[7, 8],
        )
    )
    assert torch.equal(images.valid, x[:3])
    assert images.train_labels.tolist() == [0, 1, 2, 3]
    assert images.valid_labels is None
    assert images.test_labels.dtype == torch.int64


GOOD = np.zeros((4, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"test": None, "extra": [1]},
            ValueError,
            r"expects arrays train and test .* got train, extra. Add test",
        ),
        ({"train": None, "test": None}, ValueError, r"got none. Add train and test"),
        (
            {"train": GOOD / 2},
            TypeError,
            r"train expects pixel levels as uint8; got float64. Store .*astype\('uint8'\)",
        ),
        ({"train": GOOD + 0.5}, TypeError, r"got float64, with values that are not whole"),
        (
            {"train": GOOD + np.nan},
            TypeError,
            r"got float64, with 36 of 36 elements NaN or infinite",
        ),
        (
            {"test": GOOD.astype(np.int64) - 1},
            TypeError,
            r"test expects .*got int64, with values from -1 to -1",
        ),
        ({"test": GOOD == 0}, TypeError, r"test expects .*got bool. Store them with .astype"),
        ({"test": np.array("a")}, TypeError, r"test expects .*got <U1. Store whole numbers"),
        (
            {"test": np.array([None])},
            ValueError,
            r"test holds Python objects, and loading data never runs code",
        ),
        ({"train": GOOD[0, 0]}, ValueError, r"train expects shape .* got \(3,\). Reshape it"),
        (
            {"valid": GOOD[:0]},
            ValueError,
            r"valid expects at least one image; got shape \(0, 3, 3\)",
        ),
        ({"test": GOOD[:, :2]}, ValueError, r"Images toy expects test images of shape \(1, 3, 3\)"),
        (
            {"train": GOOD[:1]},
            ValueError,
            r"toy: train expects at least 2 images, because one is held out for validation; got 1",
        ),
        ({"train_labels": [0.5] * 4}, TypeError, r"train_labels expects integers; got float64"),
        (
            {"train_labels": [1, 2]},
            ValueError,
            r"train_labels expects shape \(4,\), one label an image; got \(2,\)",
        ),
        (
            {"levels": [2, 3]},
            ValueError,
            r"levels expects one whole number from 2 to 256; got an array",
        ),
        ({"levels": 2.0}, ValueError, r"levels expects one whole number from 2 to 256; got 2.0"),
        ({"levels": 1}, ValueError, r"levels expects one whole number from 2 to 256; got 1"),
        (
            {"test": GOOD + 16, "levels": 16},
            ValueError,
            r"expects test images with pixels from 0 to 15",
        ),
    ],
)
def test_npz_names_what_is_wrong(tmp_path, change, error, match):
    arrays = {
        key: array
        for key, array in ({"train": GOOD, "test": GOOD} | change).items()
        if array is not None
    }
    with pytest.raises(error, match=match):
        load(save(tmp_path / "toy.npz", **arrays))


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"hello"]
)
def test_truncated_npz(tmp_path, damage):
    path = save(tmp_path / "toy.npz", train=GOOD, test=GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"toy.npz: load expects an .npz file .*; got one that is damaged"
    ):
        load(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_npz_is_never_another_error(tmp_path_factory, data):
    path = save(tmp_path_factory.mktemp("npz") / "toy.npz", train=GOOD, test=GOOD)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        load(path)
    except (TypeError, ValueError) as error:
        assert "toy" in str(error)  # noqa: PT017


# Folders of images


def write_images(folder, count, mode="RGB", size=(6, 4), suffix=".png", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    x = pixels(count, size[1], size[0], 3, seed=seed)
    for i, image in enumerate(x):
        Image.fromarray(image.numpy()).convert(mode).save(folder / f"{i:03}{suffix}")
    return x.permute(0, 3, 1, 2)


def test_folder_is_split_80_10_10(tmp_path):
    x = write_images(tmp_path / "deep" / "er", 30)
    (tmp_path / "._0.png").write_bytes(b"left by another system")
    images, other = load(tmp_path), load(tmp_path, seed=1)
    assert (
        repr(images)
        == f"Images({tmp_path.name!r}, shape=(3, 4, 6), levels=256, train=24, valid=3, test=3)"
    )
    assert rows(images.train) | rows(images.valid) | rows(images.test) == rows(x)
    assert torch.equal(images.test, other.test)
    assert not torch.equal(images.valid, other.valid)
    assert len(load(tmp_path, valid_fraction=0.5).valid) == 15


def test_folder_with_splits(tmp_path):
    x = {
        split: write_images(tmp_path / split, n, seed=n)
        for split, n in (("train", 5), ("valid", 2), ("test", 3))
    }
    images = load(tmp_path)
    for split, expected in x.items():
        assert torch.equal(images.split(split), expected)


def test_folder_without_valid(tmp_path):
    write_images(tmp_path / "train", 20)
    write_images(tmp_path / "test", 2)
    assert repr(load(tmp_path)).endswith("train=18, valid=2, test=2)")


@pytest.mark.parametrize(("other", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("P", 3)])
def test_folder_is_grey_only_if_all_is(tmp_path, other, channels):
    write_images(tmp_path, 6, mode="L")
    write_images(tmp_path / "other", 1, mode=other)
    assert load(tmp_path).shape == (channels, 4, 6)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".webp", ".bmp"])
def test_folder_suffixes(tmp_path, suffix):
    write_images(tmp_path, 3, suffix=suffix)
    assert load(tmp_path).shape == (3, 4, 6)


def test_folder_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"expects images \(.png, .jpg.*got none"):
        load(tmp_path)
    write_images(tmp_path, 3)
    (tmp_path / "001.png").write_bytes((tmp_path / "000.png").read_bytes()[:60])
    with pytest.raises(
        ValueError, match=r"001.png expects an image .*; got a file that is damaged"
    ):
        load(tmp_path)
    (tmp_path / "001.png").write_bytes(b"text")
    with pytest.raises(
        ValueError, match=r"001.png expects an image .*; got a file that is damaged"
    ):
        load(tmp_path)
    Image.new("RGB", (5, 4)).save(tmp_path / "001.png")
    with pytest.raises(ValueError, match=r"001.png expects 6x4 pixels .* as in 000.png; got 5x4"):
        load(tmp_path)
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "001.png")
    with pytest.raises(
        ValueError, match=r"001.png expects 8 bits a channel; got Pillow mode 'I;16'"
    ):
        load(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"expects subfolders train and test .* got train"):
        load(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match=r"train expects images"):
        load(tmp_path)


# Holding out


@given(total=st.integers(2, 60), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**40))
def test_hold_out_is_a_partition(total, fraction, seed):
    images = torch.arange(total, dtype=torch.uint8).view(-1, 1, 1, 1)
    rest, held = Split(images, images.view(-1).long()).hold_out(fraction, seed)
    assert sorted([*rest.labels.tolist(), *held.labels.tolist()]) == list(range(total))
    assert torch.equal(held.images.view(-1).long(), held.labels)
    assert len(held.labels) == min(max(round(fraction * total), 1), total - 1)


# check_images


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_check_images_accepts(dtype, batch):
    assert (
        check_images(torch.full((*batch, 3, 4, 6), 16, dtype=dtype), (3, 4, 6), levels=17) is None
    )


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (np.zeros((1, 4, 6)), TypeError, r"expects images as a tensor; got ndarray"),
        (
            torch.zeros(1, 4, 6, dtype=torch.bool),
            TypeError,
            r"got torch.bool. Convert them with x.to\(torch.uint8\)",
        ),
        (torch.zeros(1, 4, 6, dtype=torch.cfloat), TypeError, r"real numbers; got torch.complex64"),
        (
            torch.zeros(2, 3, 4, 6),
            ValueError,
            r"expects images of shape \(\*, 1, 4, 6\); got \(2, 3, 4, 6\)",
        ),
        (
            torch.zeros(2, 1, 4, 5),
            ValueError,
            r"expects images of shape \(\*, 1, 4, 6\); got \(2, 1, 4, 5\). Crop",
        ),
        (torch.zeros(2, 4, 6, 1), ValueError, r"Channels come first: x.movedim\(-1, -3\)"),
        (torch.zeros(2, 4, 6), ValueError, r"Add the channel: x.unsqueeze\(-3\)"),
        (torch.tensor(0.0), ValueError, r"got \(\)"),
        (
            torch.zeros(0, 1, 4, 6),
            ValueError,
            r"expects at least one image; got an empty batch of shape \(0, 1, 4, 6\)",
        ),
        (torch.full((1, 4, 6), torch.nan), ValueError, r"got 24 of 24 elements NaN"),
        (torch.full((1, 4, 6), torch.inf), ValueError, r"got 24 of 24 elements infinite"),
        (
            torch.full((1, 4, 6), 0.25),
            ValueError,
            r"got 0.25. Undo the scaling to \[0, 1\]: \(x \* 16\).round\(\)",
        ),
        (torch.full((1, 4, 6), -0.25), ValueError, r"got -0.25. Undo the scaling to \[-1, 1\]"),
        (
            torch.full((1, 4, 6), 3.5),
            ValueError,
            r"got 3.5. Round them, or undo the dequantization",
        ),
        (
            torch.full((1, 4, 6), -1),
            ValueError,
            r"pixel levels from 0 to 16; got values from -1 to -1",
        ),
        (
            torch.full((1, 4, 6), 17.0),
            ValueError,
            r"pixel levels from 0 to 16; got values from 17 to 17",
        ),
        (torch.full((1, 4, 6), 255, dtype=torch.uint8), ValueError, r"got values from 255 to 255"),
    ],
)
def test_check_images_names_what_is_wrong(x, error, match):
    with pytest.raises(error, match=match):
        check_images(x, (1, 4, 6), levels=17)


# Batches


@st.composite
def plans(draw):
    """Numbered images, and batches that fit them: (images, per-rank batch size, world size, seed)."""
    batch_size, world_size = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    total = draw(st.integers(batch_size * world_size, 60))
    images = torch.arange(2 * total, dtype=torch.uint8).view(total, 1, 1, 2)
    return images, batch_size, world_size, draw(st.integers(0, 2**40))


def take(batches, count):
    return list(islice(batches, count))


@given(plans(), st.integers(0, 3))
def test_every_image_at_most_once_an_epoch(plan, epoch):
    images, batch_size, _, seed = plan
    batches = Batches(images, batch_size, seed)
    seen = torch.cat(
        [batches.batch(epoch * batches.steps_per_epoch + t) for t in range(batches.steps_per_epoch)]
    )
    assert len(rows(seen)) == len(seen) == len(images) // batch_size * batch_size


@given(plans(), st.integers(0, 40), st.booleans())
def test_resumed_batches_are_the_ones_missed(plan, start, flip):
    images, batch_size, world_size, seed = plan
    options = {"rank": world_size - 1, "world_size": world_size, "flip": flip}
    through = take(Batches(images, batch_size, seed, **options), start + 3)[start:]
    resumed = Batches(images, batch_size, seed, start, **options)
    for expected, got in zip(through, take(resumed, 3), strict=True):
        assert torch.equal(expected, got)
    resumed.start = 0
    assert torch.equal(next(iter(resumed)), Batches(images, batch_size, seed, **options).batch(0))


@given(plans(), st.integers(0, 40), st.booleans())
def test_ranks_partition_the_global_batch(plan, step, flip):
    images, batch_size, world_size, seed = plan
    whole = Batches(images, batch_size * world_size, seed, flip=flip).batch(step)
    parts = [
        Batches(images, batch_size, seed, rank=rank, world_size=world_size, flip=flip).batch(step)
        for rank in range(world_size)
    ]
    assert torch.equal(whole, torch.cat(parts))


@given(plans(), st.integers(0, 40))
def test_labels_follow_their_images_and_flips_mirror(plan, step):
    images, batch_size, _, seed = plan
    x, labels = Batches(
        images, batch_size, seed, flip=True, labels=torch.arange(len(images))
    ).batch(step)
    assert x.dtype == torch.uint8
    for image, label in zip(x, labels, strict=True):
        assert image.flatten().tolist() in ([2 * label, 2 * label + 1], [2 * label + 1, 2 * label])


def test_flips_are_fair_and_independent():
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(100, 1, 1, 2)
    flipped = torch.stack(
        [batch[:, 0, 0, 0] for batch in take(Batches(images, 100, 0, flip=True), 100)]
    ).double()
    assert flipped.mean() == pytest.approx(0.5, abs=0.02)
    assert (flipped[1:] == flipped[:-1]).double().mean() == pytest.approx(0.5, abs=0.02)


def test_seeds_and_epochs_differ():
    """Also seeds that share their low 32 bits, which is all of a seed that torch's generator looks at."""
    images = pixels(64, 1, 2, 2)
    first = [next(iter(Batches(images, 64, seed))) for seed in (0, 1, 2**32)]
    first.append(Batches(images, 64, 0).batch(1))
    assert len({x.numpy().tobytes() for x in first}) == 4


def test_batches_in_a_data_loader():
    batches = Batches(pixels(10, 1, 2, 2), 4, seed=0)
    loader = DataLoader(batches, batch_size=None)
    for expected, got in zip(take(batches, 5), take(loader, 5), strict=True):
        assert torch.equal(expected, got)


def test_batches_refuse_workers(monkeypatch):
    monkeypatch.setattr("pyro_exact.data.batches.get_worker_info", lambda: "a worker")
    with pytest.raises(ValueError, match="expects num_workers=0"):
        iter(Batches(pixels(10, 1, 2, 2), 4, seed=0))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"batch_size": 11},
            r"batch_size \* world_size of at most 10, the number of images; got 11 \* 1. Lower",
        ),
        ({"batch_size": 6, "world_size": 2}, r"at most 10, the number of images; got 6 \* 2"),
        ({"batch_size": 0}, r"expects batch_size from 1 to .*; got 0"),
        ({"seed": -1}, r"expects seed from 0 to .*; got -1"),
        ({"start": -1}, r"expects start from 0 to .*; got -1"),
        ({"world_size": 0}, r"expects world_size from 1 to .*; got 0"),
        ({"rank": 2, "world_size": 2}, r"expects rank from 0 to 1; got 2"),
        ({"images": pixels(10, 2, 2)}, r"expects images of shape \(N, C, H, W\); got \(10, 2, 2\)"),
        ({"labels": torch.arange(9)}, r"expects labels of shape \(10,\), one an image; got \(9,\)"),
    ],
)
def test_batches_name_what_is_wrong(change, match):
    with pytest.raises(ValueError, match=match):
        Batches(**({"images": pixels(10, 1, 2, 2), "batch_size": 2, "seed": 0} | change))


def test_batches_refuse_a_start_set_below_zero():
    batches = Batches(pixels(10, 1, 2, 2), 2, seed=0)
    batches.start = -1
    with pytest.raises(ValueError, match=r"expects step from 0 to .*; got -1"):
        next(iter(batches))


# Imports


def test_importing_data_is_light():
    """Checked on the modules of the package itself: what its parents import is not its concern."""
    code = (
        "import sys, types; parent = types.ModuleType('pyro_exact'); parent.__path__ = [sys.argv[1]]; "
        "sys.modules['pyro_exact'] = parent; import pyro_exact.data; "
        "print(*{'torchvision', 'sklearn', 'PIL', 'scipy', 'pyro'} & set(sys.modules))"
    )
    package = Path(__file__).parents[1] / "pyro_exact"
    result = subprocess.run(
        [sys.executable, "-c", code, str(package)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize(
    ("x", "images", "error", "message"),
    [
        (np.zeros((2, 1, 4, 4)), torch.zeros(3, 1, 4, 4), TypeError, "x as a tensor; got ndarray"),
        (
            torch.zeros(2, 1, 4, 4),
            np.zeros((3, 1, 4, 4)),
            TypeError,
            "images as a tensor; got ndarray",
        ),
        (
            torch.zeros(2, 1, 4, 5),
            torch.zeros(3, 1, 4, 4),
            ValueError,
            r"x of shape \(N, 1, 4, 4\); got \(2, 1, 4, 5\)",
        ),
        (
            torch.zeros(2, 1, 4, 4),
            torch.zeros(0, 1, 4, 4),
            ValueError,
            r"images of .* at least 1; got \(0, 1, 4, 4\)",
        ),
        (
            torch.zeros(2, 1, 1, 1) / 0,
            torch.zeros(3, 1, 1, 1),
            ValueError,
            "x to be finite; got 2 of 2 elements NaN",
        ),
        (torch.tensor(1.0), torch.tensor(1.0), ValueError, "images of shape"),
    ],
)
def test_nearest_takes_batches_of_one_shape(x, images, error, message):
    with pytest.raises(error, match=f"nearest expects {message}"):
        nearest(x, images)
