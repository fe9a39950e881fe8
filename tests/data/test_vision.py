"""Data sets of torchvision: files, splits, failed downloads."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, load
from pyro_exact.data.vision_rows import VisionRows, random_crop

SHARED = Path(__file__).parents[3] / "shared" / "data"


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def rows(x):
    return {bytes(image.numpy().tobytes()) for image in x}


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


def test_idx_files_that_are_damaged_are_refused(tmp_path):
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

    def __init__(self, root, split="", classes=(), train=None, download=False):
        key = split or "".join(classes).rsplit("_", 1)[-1] or {True: "train", False: "test"}[train]
        self.base, self.count = {
            "train": (0, 12),
            "valid": (50, 3),
            "val": (50, 3),
            "test": (100, 4),
        }[key]
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
        return picture, index


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


def test_lsun_crops_the_same_place_of_an_image_each_time():
    ramp = np.arange(96 * 120, dtype=np.uint16).reshape(96, 120)
    picture = Image.fromarray(np.stack([ramp % 120, ramp // 120, ramp * 0], -1).astype(np.uint8))
    crops = torch.stack([random_crop(picture, number) for number in range(400)])
    assert torch.equal(crops[7], random_crop(picture, 7))

    left, top = crops[:, 0, 0, 0], crops[:, 1, 0, 0]
    for place, most in ((left, 120 - 64), (top, 96 - 64)):
        assert (place.min(), place.max()) == (0, most)
        assert place.double().mean() == pytest.approx(most / 2, abs=0.1 * most)
    across = torch.arange(64)
    assert torch.equal(crops[:, 0, 5].long(), left[:, None] + across)
    assert torch.equal(crops[:, 1, :, 5].long(), top[:, None] + across)


def test_vision_images_that_do_not_fit_into_memory_are_decoded_by_workers(monkeypatch, tmp_path):
    monkeypatch.setattr("torchvision.datasets.CelebA", FakeVision)
    monkeypatch.setattr("pyro_exact.data.vision_rows.MOST_IN_MEMORY", 100)
    images = load("celeba", tmp_path)
    assert isinstance(images.train, VisionRows)
    batches = Batches(images.train, 5, seed=0)
    loader = DataLoader(batches, batch_size=None, num_workers=2)
    for step, batch in zip(range(3), loader, strict=False):
        assert torch.equal(batch, batches.batch(step))
    assert torch.equal(
        pickle.loads(pickle.dumps(images.test))[torch.arange(4)], images.test[torch.arange(4)]
    )


def test_download_that_fails(monkeypatch, tmp_path):
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
def test_vision_data_that_are_absent(tmp_path, name, folder):
    with pytest.raises(
        FileNotFoundError,
        match=rf"{name} expects its data in .*nowhere.{folder}.*download=True \(--download\)",
    ):
        load(name, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
