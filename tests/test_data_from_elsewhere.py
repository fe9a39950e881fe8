"""Files that nobody vouches for: read right, read by a rule that is said, or refused in one line; never slowly."""

import os
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

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


def write_members(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {"test.npy": header((3, 4), body=bytes(12))} | members:
            archive.writestr(name, content)
    return path


# Arrays
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_come_last_are_turned_with_a_warning(tmp_path, channels):
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)
    with pytest.warns(DataWarning, match=r"read as \(N, H, W, C\), channels last, and turned"):
        images = load(save(tmp_path / "a.npz", train=x, valid=x, test=x))
    assert images.shape == (channels, 6, 5)
    assert np.array_equal(images.train.numpy(), np.moveaxis(x, -1, 1))


def test_channels_that_come_first_stay(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 3), dtype=np.uint8)
    assert np.array_equal(load(save(tmp_path / "a.npz", train=x, valid=x, test=x)).train.numpy(), x)


def test_tensors_whose_channels_seem_to_come_last_are_warned_of():
    x = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with pytest.warns(
        DataWarning, match=r"shape \(32, 32, 3\) means 32 channels.*x.movedim\(-1, 1\)"
    ):
        Images("toy", x, x, x, levels=256)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_validation_goes_by_other_names_too(tmp_path, name):
    valid = np.ones((2, 4), np.uint8)
    images = load(save(tmp_path / "a.npz", **{name: valid, f"{name}_labels": [3, 4]}))
    assert (len(images.train), images.valid.flatten().tolist()) == (6, [1] * 8)
    assert images.valid_labels.tolist() == [3, 4]
    with pytest.raises(ValueError, match=f"expects one array valid; got {name} too"):
        load(save(tmp_path / "a.npz", **{name: valid}, valid=valid))


def test_arrays_without_a_meaning_are_named(tmp_path):
    with pytest.warns(
        DataWarning,
        match=r"a\.npz: not read: names, x\\x1b\[2J\. Known arrays are train, valid, test",
    ):
        load(save(tmp_path / "a.npz", names=np.array(["a"]), **{"x\x1b[2J": np.array([{}])}))


@pytest.mark.parametrize("labels", [np.full(6, -1), np.full(6, 2**64 - 1, np.uint64)])
def test_labels_are_classes(tmp_path, labels):
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
def test_arrays_that_lie_are_refused(tmp_path, train):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.npy", train)
        archive.writestr("test.npy", header((3, 4), body=bytes(12)))
    with pytest.raises(
        ValueError,
        match=r"^\S*a\.npz: load expects an \.npz file of arrays of numbers; got .*Write it",
    ):
        load(path)


def test_a_member_of_two_names_is_refused(tmp_path):
    """A damaged directory would otherwise hide an array: here that of the validation split."""
    path = save(tmp_path / "a.npz", valid=np.ones((2, 4), np.uint8))
    before, _, after = path.read_bytes().rpartition(b"valid.npy")
    path.write_bytes(before + b"Valid.npy" + after)
    with pytest.raises(ValueError, match=r"File name in directory 'Valid\.npy'"):
        load(path)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = save(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train.npy", header((6, 4), body=BODY))
    with pytest.raises(ValueError, match=r"it has two members train\.npy"):
        load(path)


def test_a_compressed_file_is_read_where_its_size_is_plausible(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **SPLITS)
    assert load(tmp_path / "a.npz").shape == (1, 1, 4)


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_exact.data.archive.SPARE_BYTES", 2**20)
    monkeypatch.setattr("pyro_exact.data.archive._array", None)  # nothing is read
    zeros = np.zeros((4, 2**20), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", train=zeros, test=zeros[:1])
    with pytest.raises(
        ValueError, match=r"its arrays declare 5,242,880 bytes.*write it without compression"
    ):
        load(tmp_path / "bomb.npz")


def test_a_directory_of_any_size_is_refused(tmp_path):
    """An archive whose end declares a directory of 1 GB, in a sparse file that has one."""
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        file.seek(2**30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**30, 0, 0))
    with pytest.raises(ValueError, match=r"a part of 1,073,741,824 bytes outside its arrays"):
        load(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_an_npz_that_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".npz", "a\0b"])
def test_names_that_no_file_can_have_are_not_found(name):
    with pytest.raises(
        (ValueError, FileNotFoundError), match=r"expects the name of a data set|no such file"
    ):
        load(name)


# Image files
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder with four grey images of 6x4 pixels."""
    for i in range(4):
        Image.fromarray(np.full((4, 6), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def png(width, height, bits=8, kind=0, rows=None):
    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    if rows is None:
        rows = bytes((1 + width * bits * {0: 1, 2: 3}[kind] // 8) * height)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_photographs_stand_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.repeat(np.arange(0, 240, 60, dtype=np.uint8)[:, None], 6, 1))
    for i in range(3):
        picture.save(tmp_path / f"{i}.{suffix}", exif=exif)
    with Image.open(tmp_path / f"0.{suffix}") as opened:
        upright = np.array(ImageOps.exif_transpose(opened))
    images = load(tmp_path)
    assert upright.shape[:2] == ((6, 4) if orientation > 4 else (4, 6))
    assert np.array_equal(images.train[0].movedim(0, -1).squeeze(-1).numpy(), upright)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_files_of_few_bits_have_few_levels(tmp_path, bits):
    ramp = np.arange(2**bits)
    row = np.packbits(ramp[:, None] >> np.arange(bits)[::-1] & 1).tobytes()
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(2**bits, 1, bits, rows=b"\0" + row))
    images = load(tmp_path)
    assert (images.levels, images.shape) == (2**bits, (1, 1, 2**bits))
    assert images.train.flatten().tolist() == ramp.tolist()


@pytest.mark.parametrize(
    ("colours", "shape", "levels"),
    [
        ((0, 255), (1, 4, 6), 2),
        ((0, 100), (1, 4, 6), 256),
        (((0, 0, 0), (9, 0, 0)), (3, 4, 6), 256),
    ],
)
def test_a_palette_is_as_grey_as_its_colours(tmp_path, colours, shape, levels):
    for i in range(3):
        picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) % 2, "P")
        picture.putpalette(
            [part for c in colours for part in (c if isinstance(c, tuple) else (c, c, c))]
        )
        picture.save(tmp_path / f"{i}.png")
    images = load(tmp_path)
    assert (images.shape, images.levels) == (shape, levels)


def animation(path):
    frames = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


REFUSED = {
    "a pipe": (os.mkfifo, "a regular file; got a pipe, a device or a dead link"),
    "a dead link": (lambda path: path.symlink_to("nowhere"), "a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a regular file"),
    "16 bits in colour": (
        lambda path: path.write_bytes(png(6, 4, 16, 2)),
        "8 bits a channel; got 16",
    ),
    "an animation": (animation, "a still image; got an animation of 3 frames"),
    "a bomb": (
        lambda path: path.write_bytes(png(5000, 5000, rows=b"")),
        "at most 16,777,216 pixels; got 5000x5000",
    ),
    "a larger bomb": (
        lambda path: path.write_bytes(png(2**30, 2**30, rows=b"")),
        "an image .*; got a file",
    ),
    "a script": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n"),
        "another kind",
    ),
    "another kind": (lambda path: Image.new("L", (6, 4)).save(path, "GIF"), "another kind"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_files_that_are_no_image_to_learn_from_are_refused(folder, make, message):
    make(folder / "x.png")
    with pytest.raises(ValueError, match=rf"x\.png expects.*({message})"):
        load(folder)


def test_images_that_take_far_more_than_their_files_are_refused(tmp_path):
    blob = png(4096, 4096, 1)
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(blob)
    with pytest.raises(ValueError, match=r"for files of this size; got 20 of 4096x4096 pixels"):
        load(tmp_path)


def test_a_name_shows_its_escape_codes(folder):
    (folder / "\x1b[2Jx.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\\x1b\[2Jx\.png expects an image"):
        load(folder)
    os.rename(folder / "\x1b[2Jx.png", os.fsencode(folder) + b"/\xff.png")
    with pytest.raises(ValueError, match=r"\\udcff\.png expects an image") as caught:
        load(folder)
    str(caught.value).encode()  # which a lone surrogate could not


def test_links_to_folders_are_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (folder / "sub").symlink_to(other)
    with pytest.raises(
        ValueError, match=r"sub expects a folder; got a link to one\. Copy the images in its place"
    ):
        load(folder)


def test_files_of_other_kinds_are_counted(folder):
    (folder / "a.gif").write_bytes(b"GIF89a")
    (folder / "notes").write_text("")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"a preview")
    with pytest.warns(
        DataWarning, match=r"not read, because the suffix is not .*: 1 \.gif, 1 without suffix\."
    ):
        assert len(load(folder).train) == 2


def test_splits_go_by_other_names_too(folder):
    for name in ("Train", "val", "TEST"):
        (folder / name).mkdir()
        Image.new("L", (6, 4), len(name)).save(folder / name / "a.png")
    with pytest.warns(
        DataWarning, match=r"not read, because it stands beside train and test: 0\.png, 1\.png"
    ):
        images = load(folder)
    assert [int(images.split(name).unique()) for name in ("train", "valid", "test")] == [5, 3, 4]
    (folder / "valid").mkdir()
    with pytest.raises(ValueError, match="expects one subfolder valid; got val and valid"):
        load(folder)


def test_a_folder_needs_an_image_for_each_split(folder):
    for i in (0, 1):
        (folder / f"{i}.png").unlink()
    with pytest.raises(
        ValueError, match=r"expects at least 3 images, one for each split; got 2\. Add images"
    ):
        load(folder)


# Damage
# ---------------------------------------------------------------------------------------------------------------


def damaged(blob, seed):
    """Bytes cut short, or with one bit flipped."""
    chance = random.Random(seed)
    if seed % 2:
        return blob[: chance.randrange(len(blob))]
    changed = bytearray(blob)
    changed[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_damaged_image_is_refused_or_of_the_right_size(folder, suffix):
    """Only PNG has checksums: of the others a changed pixel cannot be told from a real one."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    path = folder / f"x.{suffix}"
    Image.fromarray(noise).convert("RGB" if suffix == "jpg" else "RGBA").save(path, lossless=True)
    blob, whole = path.read_bytes(), load(folder)
    refused = 0
    for seed in range(60):
        path.write_bytes(damaged(blob, seed))
        try:
            found = load(folder)
        except ValueError as error:
            refused += 1
            assert str(path.name) in str(error)  # noqa: PT017
        else:
            assert suffix != "png" or torch.equal(found.train, whole.train)
    assert refused > 20
