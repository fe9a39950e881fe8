"""Files of images that nobody vouches for: read right, read by a rule that is said, or refused in one line."""

import os
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pyro_exact.data import DataWarning, load


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
def test_image_files_of_few_bits_have_few_levels(tmp_path, bits):
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
def test_palette_is_as_grey_as_its_colours(tmp_path, colours, shape, levels):
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
def test_image_files_that_are_no_image_to_learn_from_are_refused(folder, make, message):
    make(folder / "x.png")
    with pytest.raises(ValueError, match=rf"x\.png expects.*({message})"):
        load(folder)


def test_image_files_that_take_far_more_memory_are_refused(tmp_path):
    blob = png(4096, 4096, 1)
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(blob)
    with pytest.raises(ValueError, match=r"for files of this size; got 20 of 4096x4096 pixels"):
        load(tmp_path)


def test_image_files_show_the_escape_codes_of_their_names(folder):
    (folder / "\x1b[2Jx.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\\x1b\[2Jx\.png expects an image"):
        load(folder)
    os.rename(folder / "\x1b[2Jx.png", os.fsencode(folder) + b"/\xff.png")
    with pytest.raises(ValueError, match=r"\\udcff\.png expects an image") as caught:
        load(folder)
    str(caught.value).encode()  # which a lone surrogate could not


def test_folder_refuses_links_to_folders(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (folder / "sub").symlink_to(other)
    with pytest.raises(
        ValueError, match=r"sub expects a folder; got a link to one\. Copy the images in its place"
    ):
        load(folder)


def test_folder_counts_files_of_other_kinds(folder):
    (folder / "a.gif").write_bytes(b"GIF89a")
    (folder / "notes").write_text("")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"a preview")
    with pytest.warns(
        DataWarning, match=r"not read, because the suffix is not .*: 1 \.gif, 1 without suffix\."
    ):
        assert len(load(folder).train) == 2


def test_folder_takes_other_names_for_splits(folder):
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


def test_folder_needs_an_image_for_each_split(folder):
    for i in (0, 1):
        (folder / f"{i}.png").unlink()
    with pytest.raises(
        ValueError, match=r"expects at least 3 images, one for each split; got 2\. Add images"
    ):
        load(folder)


def damaged(blob, seed):
    """Bytes cut short, or with one bit flipped."""
    chance = random.Random(seed)
    if seed % 2:
        return blob[: chance.randrange(len(blob))]
    changed = bytearray(blob)
    changed[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore:.*transparent pixels")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_image_files_that_are_damaged_are_refused_or_of_the_right_size(folder, suffix):
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
