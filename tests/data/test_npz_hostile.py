"""Files of arrays that nobody vouches for: read right, read by a rule that is said, or refused in one line."""

import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_exact.data import DataWarning, Images, load

SPLITS = {"train": np.zeros((6, 4), np.uint8), "test": np.ones((3, 4), np.uint8)}


def save(path, **arrays):
    np.savez(path, **SPLITS | arrays)
    return path


def header(shape, dtype="|u1", body=b"", version=1):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return (
        b"\x93NUMPY"
        + bytes((version, 0))
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + body
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_npz_turns_channels_that_come_last_with_a_warning(tmp_path, channels):
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)
    with pytest.warns(DataWarning, match=r"read as \(N, H, W, C\), channels last, and turned"):
        images = load(save(tmp_path / "a.npz", train=x, valid=x, test=x))
    assert images.shape == (channels, 6, 5)
    assert np.array_equal(images.train.numpy(), np.moveaxis(x, -1, 1))


def test_npz_keeps_channels_that_come_first(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 3), dtype=np.uint8)
    assert np.array_equal(load(save(tmp_path / "a.npz", train=x, valid=x, test=x)).train.numpy(), x)


def test_tensors_whose_channels_come_last_are_refused():
    x = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match=r"would be 32 channels. Turn them with x.movedim\(-1, 1\)"
    ):
        Images("toy", x, x, x, levels=256)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_npz_takes_other_names_for_validation(tmp_path, name):
    valid = np.ones((2, 4), np.uint8)
    images = load(save(tmp_path / "a.npz", **{name: valid, f"{name}_labels": [3, 4]}))
    assert (len(images.train), images.valid.flatten().tolist()) == (6, [1] * 8)
    assert images.labels("valid").tolist() == [3, 4]
    with pytest.raises(ValueError, match=f"expects one array valid; got {name} too"):
        load(save(tmp_path / "a.npz", **{name: valid}, valid=valid))


def test_npz_names_arrays_without_a_meaning(tmp_path):
    with pytest.warns(
        DataWarning,
        match=r"a\.npz: not read: names, x\\x1b\[2J\. Known arrays are train, valid, test",
    ):
        load(save(tmp_path / "a.npz", names=np.array(["a"]), **{"x\x1b[2J": np.array([{}])}))


@pytest.mark.parametrize("labels", [np.full(6, -1), np.full(6, 2**64 - 1, np.uint64)])
def test_npz_labels_are_classes(tmp_path, labels):
    with pytest.raises(ValueError, match="train_labels expects classes from 0 on; got labels from"):
        load(save(tmp_path / "a.npz", train_labels=labels))


BODY = bytes(24)

HOSTILE = {
    "10**12 rows": header((10**12, 4)),
    "10**30 rows": header((10**30, 4)),
    "a negative size": header((-6, -4), body=BODY),
    "too few bytes": header((6, 4), body=BODY[1:]),
    "too many bytes": header((6, 4), body=BODY + b"1"),
    "no header": b"hello",
    "nothing": b"",
    "objects": header((6, 4), "|O", b"cos\nsystem\n(S'true'\ntR."),
    "elements without size": header((10**12,), "|S0"),
    "code": header("__import__('os').getcwd()", body=BODY),
    "a nested header": header("(" * 3000, body=BODY),
    "a long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"(" * 9000,
    "an unknown version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("train", HOSTILE.values(), ids=HOSTILE.keys())
def test_npz_refuses_arrays_that_lie(tmp_path, train):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.npy", train)
        archive.writestr("test.npy", header((3, 4), body=bytes(12)))
    with pytest.raises(
        ValueError,
        match=r"^\S*a\.npz: load expects an \.npz file of arrays of numbers; got .*Write it",
    ):
        load(path)


def test_npz_refuses_a_member_of_two_names(tmp_path):
    """A damaged directory would otherwise hide an array: here that of the validation split."""
    path = save(tmp_path / "a.npz", valid=np.ones((2, 4), np.uint8))
    before, _, after = path.read_bytes().rpartition(b"valid.npy")
    path.write_bytes(before + b"Valid.npy" + after)
    with pytest.raises(ValueError, match=r"File name in directory 'Valid\.npy'"):
        load(path)


def test_npz_refuses_two_arrays_of_one_name(tmp_path):
    path = save(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train.npy", header((6, 4), body=BODY))
    with pytest.raises(ValueError, match=r"it has two members train\.npy"):
        load(path)


def test_npz_compressed_is_read_where_its_size_is_plausible(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **SPLITS)
    assert load(tmp_path / "a.npz").event_shape == (4,)


def test_npz_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_exact.data.archive.SPARE_BYTES", 2**20)
    monkeypatch.setattr("pyro_exact.data.archive._array", None)  # nothing is read
    zeros = np.zeros((4, 2**20), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", train=zeros, test=zeros[:1])
    with pytest.raises(
        ValueError, match=r"its arrays declare 5,242,880 bytes.*write it without compression"
    ):
        load(tmp_path / "bomb.npz")


def test_npz_refuses_a_directory_of_any_size(tmp_path):
    """An archive whose end declares a directory of 1 GB, in a sparse file that has one."""
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        file.seek(2**30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**30, 0, 0))
    with pytest.raises(ValueError, match=r"a part of 1,073,741,824 bytes outside its arrays"):
        load(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_npz_refuses_what_is_no_file(tmp_path, make):
    make(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".npz", "a\0b"])
def test_npz_finds_no_names_that_no_file_can_have(name):
    with pytest.raises(
        (ValueError, FileNotFoundError), match=r"expects the name of a data set|no such file"
    ):
        load(name)


@pytest.fixture
def folder(tmp_path):
    """A folder with four grey images of 6x4 pixels."""
    for i in range(4):
        Image.fromarray(np.full((4, 6), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path
