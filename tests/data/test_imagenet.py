"""ImageNet in its two published versions: tiny files of exactly these formats."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_exact.data import load
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.views import in_memory

COUNTS = {"train_data_batch_1": 6, "train_data_batch_2": 3, "train_data_batch_10": 2, "val_data": 4}


def pixels(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3 * size**2), dtype=np.uint8)


def batch(name, size):
    """A batch as the authors store it: rows of red, green and blue planes, and classes from 1."""
    count = COUNTS[name]
    x = pixels(count, size, seed=count)
    return {"data": x, "labels": [1 + 7 * i for i in range(count)], "mean": x.mean(0)}


def python_2(content):
    """The pickle of a batch as Python 2 wrote it: text is bytes, and numpy has its old name."""
    x, labels = content["data"], content["labels"]
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01"
        + b"".join(b"M" + size.to_bytes(2, "little") for size in x.shape)
        + b"\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + x.nbytes.to_bytes(4, "little")
        + x.tobytes()
        + b"tb"
    )
    numbers = b"".join(b"M" + label.to_bytes(2, "little") for label in labels)
    return b"\x80\x02}q\x00(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def write_batches(folder, size, kind):
    folder.mkdir(exist_ok=True)
    for name in COUNTS:
        content = batch(name, size)
        if kind == "npz":
            np.savez(folder / f"{name}.npz", **content)
        elif kind == "compressed":
            np.savez_compressed(folder / f"{name}.npz", **content)
        else:
            dump = python_2(content) if kind == "python 2" else pickle.dumps(content, kind)
            (folder / name).write_bytes(dump)


@pytest.mark.parametrize("kind", ["npz", "compressed", "python 2", 2, 3, 4, 5])
@pytest.mark.parametrize("size", [32, 64])
def test_imagenet_batches(tmp_path, size, kind):
    write_batches(tmp_path, size, kind)
    images = load(f"imagenet{size}_chrabaszcz", tmp_path)
    assert images.name == f"imagenet{size}_chrabaszcz"
    assert [len(images.split(split)) for split in SPLITS] == [10, 1, 4]

    expected = {}
    for name in COUNTS:
        content = batch(name, size)
        for row, label in zip(content["data"], content["labels"], strict=True):
            expected[row.tobytes()] = label - 1
    for split in SPLITS:
        for image, label in zip(
            in_memory(images.split(split)), images.labels(split).tolist(), strict=True
        ):
            assert image.shape == (3, size, size)
            assert expected.pop(image.numpy().tobytes()) == label
    assert expected == {}


@pytest.mark.parametrize("kind", ["npz", "python 2", 3, 4, 5])
def test_imagenet_batches_stay_in_the_files(tmp_path, kind):
    write_batches(tmp_path, 64, kind)
    images = load("imagenet64-chrabaszcz", tmp_path)
    assert not any(isinstance(images.split(split), torch.Tensor) for split in SPLITS)


@pytest.mark.parametrize("size", [32, 64])
def test_imagenet_folders(tmp_path, size):
    for part, count in (("train", 7), ("valid", 2)):
        folder = tmp_path / f"{part}_{size}x{size}"
        folder.mkdir()
        for i, row in enumerate(pixels(count, size, seed=count)):
            Image.fromarray(row.reshape(size, size, 3)).save(folder / f"{i:07}.png")
    images = load(f"imagenet{size}_oord", tmp_path)
    assert repr(images).endswith(
        f"shape=(3, {size}, {size}), levels=256, train=6, valid=1, test=2)"
    )
    test = pixels(2, size, seed=2).reshape(2, size, size, 3)
    assert np.array_equal(in_memory(images.test).movedim(1, -1).numpy(), test)
    assert images.train_labels is None


def test_imagenet_needs_the_name_of_a_version(tmp_path):
    with pytest.raises(
        ValueError, match=r"two of each size.*must not be compared.*imagenet32_oord"
    ):
        load("ImageNet32", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expects .*train_64x64; got none. Download"):
        load("imagenet64_oord", tmp_path)
    write_batches(tmp_path, 32, 4)
    with pytest.raises(ValueError, match=r"images of shape \(12288,\); got \(3072,\)"):
        load("imagenet64_chrabaszcz", tmp_path)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile():
    """Pickles that do more than make arrays, or that are damaged."""
    good = pickle.dumps(batch("val_data", 32), 4)
    x = np.zeros((2, 3), np.uint8)
    yield "a command", pickle.dumps(Hostile(eval, "open('hacked', 'w')")), r"calls .*eval"
    yield "a call in labels", pickle.dumps({"data": x, "labels": Hostile(print, "x")}), "calls"
    yield "objects", pickle.dumps({"data": np.array([None, "a"]), "labels": []}), "array of"
    yield "structures", pickle.dumps({"data": np.zeros(2, "u1,u1")}), "an array of"
    yield "a class", pickle.dumps({"data": Image.Exif()}), "got"
    yield "cut short", good[: len(good) // 2], "cut short|damaged"
    yield "empty", b"", "instruction"
    yield "text", b"hello", "damaged"
    yield "protocol 0", pickle.dumps({"data": x}, 0), "instruction"
    yield "a long string", b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "cut short"
    yield "a huge memo", b"\x80\x04Nr\xff\xff\xff\xff0.", "damaged"
    yield "a pop too many", b"\x80\x040.", "damaged"
    yield "no mark", b"\x80\x04t.", "damaged"
    yield "an id", b"\x80\x04K\x01Q.", "instruction b'Q'"
    yield "an instance", b"\x80\x02(cos\nsystem\no.", "instruction b'o'"
    yield "a negative shape", good.replace(b"M\x00\x0c", b"J\xff\xff\xff\xff", 1), "damaged"


@pytest.mark.parametrize(
    ("content", "match"), [pytest.param(*rest, id=name) for name, *rest in hostile()]
)
def test_imagenet_refuses_hostile_pickles(tmp_path, monkeypatch, content, match):
    monkeypatch.chdir(tmp_path)
    write_batches(tmp_path, 32, 4)
    (tmp_path / "val_data").write_bytes(content)
    with pytest.raises(ValueError, match=rf"val_data expects .*({match})"):
        load("imagenet32_chrabaszcz", tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_imagenet_refuses_pickles_damaged_anywhere(tmp_path):
    """A pickle with a wrong byte is refused, or read without running anything and in the right shape."""
    write_batches(tmp_path, 32, 4)
    content = pickle.dumps(batch("val_data", 32), 4)
    head = [*range(200), *range(len(content) - 100, len(content))]
    for place in head[::3]:
        for value in (0, 82, 255):
            changed = content[:place] + bytes([value]) + content[place + 1 :]
            (tmp_path / "val_data").write_bytes(changed)
            try:
                images = load("imagenet32_chrabaszcz", tmp_path)
            except ValueError as error:
                assert "val_data" in str(error)  # noqa: PT017
            else:
                assert images.test[torch.arange(4)].shape == (4, 3, 32, 32)


def test_imagenet_reads_arrays_in_other_forms(tmp_path):
    """Labels as an array, elements in the order of another machine."""
    write_batches(tmp_path, 32, 5)
    content = batch("val_data", 32)
    content["labels"] = np.array(content["labels"], ">i8")
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 5).dump(content)
    (tmp_path / "val_data").write_bytes(buffer.getvalue())
    assert load("imagenet32_chrabaszcz", tmp_path).test_labels.tolist() == [0, 7, 14, 21]
