"""Image files of each kind: classes, transparency, printers' colours, 16 bits, sizes, and files decoded by batches."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, DataWarning, image_rows, load
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.views import in_memory, workers


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(folder, picture, count=3, suffix=".png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture.save(folder / f"{i}{suffix}", **options)


# Classes
# --------------------------------------------------------------------------------------------------


def write_classes(folder, counts):
    for level, (name, count) in enumerate(counts.items()):
        write(folder / name / "deep", Image.fromarray(np.full((4, 6), 50 * level, np.uint8)), count)


def test_class_subfolders_become_labels(tmp_path):
    write_classes(tmp_path, {"cat": 12, "dog": 10, "emu": 8})
    with pytest.warns(DataWarning, match=r"read as 3 classes: 0 cat, 1 dog, 2 emu"):
        images = load(tmp_path)
    for split in SPLITS:
        assert torch.equal(images.split(split)[:, 0, 0, 0].long(), 50 * images.labels(split))
    assert torch.cat([images.labels(split) for split in SPLITS]).bincount().tolist() == [12, 10, 8]


def test_class_subfolders_of_splits_share_their_numbers(tmp_path):
    write_classes(tmp_path / "train", {"cat": 4, "dog": 5, "emu": 3})
    write(tmp_path / "test" / "emu", Image.new("L", (6, 4)), 2)
    with pytest.warns(DataWarning, match="3 classes"):
        images = load(tmp_path)
    assert images.test_labels.tolist() == [2, 2]

    write(tmp_path / "test" / "yak", Image.new("L", (6, 4)), 1)
    with pytest.raises(
        ValueError, match="expects the classes of train, cat, dog, emu; got yak too"
    ):
        load(tmp_path)


def test_subfolders_beside_images_are_no_classes(tmp_path):
    write_classes(tmp_path, {"cat": 4, "dog": 5})
    write(tmp_path, Image.new("L", (6, 4)), 1)
    with pytest.warns(DataWarning, match="not read as classes, because some images are beside"):
        assert load(tmp_path).train_labels is None


# Kinds of pixels
# --------------------------------------------------------------------------------------------------


def test_transparent_pixels_are_shown_on_white(tmp_path):
    x = noise(4, 6, 4)
    x[..., 3] = [0, 255] * 3
    write(tmp_path, Image.fromarray(x))
    with pytest.warns(DataWarning, match="3 of 3 files may have transparent pixels.*on white"):
        image = load(tmp_path).train[0].movedim(0, -1).numpy()
    assert (image[:, ::2] == 255).all()
    assert np.array_equal(image[:, 1::2], x[:, 1::2, :3])


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_transparent_greys_and_palettes_stay_grey(tmp_path, mode):
    x = noise(4, 6)
    picture = Image.fromarray(x)
    if mode == "LA":
        picture.putalpha(Image.fromarray(np.full((4, 6), 255, np.uint8)))
        write(tmp_path, picture)
    else:
        picture = picture.convert("P")
        picture.putpalette([level for level in range(256) for _ in "rgb"])
        write(tmp_path, picture, transparency=int(x[0, 0]))
        x = np.where(x == x[0, 0], 255, x)
    with pytest.warns(DataWarning, match="may have transparent pixels"):
        assert np.array_equal(load(tmp_path).train[0, 0].numpy(), x)


def test_colours_of_a_printer_are_converted(tmp_path):
    picture = Image.new("CMYK", (6, 4), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    write(tmp_path, picture, suffix=".jpg", quality=100, subsampling=0)
    with pytest.warns(DataWarning, match=r"3 of 3 files have the colours of a printer \(CMYK\)"):
        colour = load(tmp_path).train[0, :, 0, 0].int()
    assert (colour - torch.tensor([255, 0, 0])).abs().max() <= 3


@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "colour"])
def test_16_bits_are_refused_or_cut_to_the_high_8(tmp_path, colours):
    x = np.random.default_rng(0).integers(0, 2**16, (4, 6, *colours), dtype=np.uint16)
    tmp_path.mkdir(exist_ok=True)
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png_16(x))
    with pytest.raises(ValueError, match=r"8 bits a channel; got 16.*levels=256"):
        load(tmp_path)
    image = load(tmp_path, levels=256).train[0].movedim(0, -1).numpy()
    assert np.array_equal(image.reshape(x.shape), x >> 8)
    assert np.array_equal(load(tmp_path, levels=32).train[0].movedim(0, -1).numpy(), image >> 3)


def png_16(x):
    """A PNG file of 16 bits a channel, which Pillow cannot write in colour."""
    import struct
    import zlib

    def chunk(name, content):
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    header = struct.pack(">IIBBBBB", x.shape[1], x.shape[0], 16, 2 if x.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in x)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


# Sizes
# --------------------------------------------------------------------------------------------------


def stripes():
    """An image of 12x6 pixels: black, white and grey squares of 6x6, with grey in the middle 6x6 at both sides."""
    x = np.zeros((6, 12), np.uint8)
    x[:, 3:9] = 200
    return Image.fromarray(x)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("crop", [200] * 6),
        ("pad", [0, 0, 200, 200, 0, 0]),  # 12x6 becomes 6x3
        ("stretch", [0, 0, 200, 200, 0, 0]),
    ],
)
def test_size_brings_files_to_a_square(tmp_path, fit, expected):
    write(tmp_path, stripes())
    images = load(tmp_path, size=6, fit=fit)
    assert (images.shape, images.levels) == ((1, 6, 6), 256)
    image = images.train[0, 0].int()
    middle = image[3, [0, 1, 2, 3, 4, 5]]
    inner = torch.tensor([0, 2, 3, 5]) if fit != "crop" else torch.arange(6)
    assert (middle[inner] - torch.tensor(expected)[inner]).abs().max() <= 25  # smooth edges
    assert bool((image[0] == 0).all()) == (fit == "pad")


def test_size_takes_files_of_different_sizes_and_leaves_that_size(tmp_path):
    x = noise(6, 6)
    write(tmp_path, Image.fromarray(x))
    Image.fromarray(noise(9, 7)).save(tmp_path / "other.png")
    with pytest.raises(
        ValueError, match=r"other.png expects 6x6 pixels.*or pass a size \(--size\)"
    ):
        load(tmp_path)
    images = load(tmp_path, size=6)
    found = torch.cat([in_memory(images.split(split)) for split in SPLITS])
    assert sum(np.array_equal(image[0], x) for image in found.numpy()) == 3


def test_size_is_for_image_files(tmp_path):
    with pytest.raises(ValueError, match="size for image files alone; got it for digits"):
        load("digits", size=8)
    with pytest.raises(ValueError, match="'crop' or 'pad' or 'stretch'; got 'squash'"):
        load(tmp_path, size=8, fit="squash")


def test_bits_that_are_scaled_have_256_levels(tmp_path):
    write(tmp_path, Image.fromarray(noise(6, 12) > 127))
    assert load(tmp_path).levels == 2
    assert load(tmp_path, size=6).levels == 256


# More than memory
# --------------------------------------------------------------------------------------------------


def test_images_that_do_not_fit_into_memory_are_decoded_by_workers(tmp_path, monkeypatch):
    for i in range(20):
        Image.fromarray(noise(6, 4, 3, seed=i)).save(tmp_path / f"{i:02}.png")
    whole = load(tmp_path)
    monkeypatch.setattr(image_rows, "MOST_IN_MEMORY", 100)
    images = load(tmp_path)
    assert workers(images.train) >= 1
    for split in SPLITS:
        assert torch.equal(in_memory(images.split(split)), whole.split(split))

    known = Batches(whole.train, 4, seed=0, flip=True)
    loader = DataLoader(Batches(images.train, 4, seed=0, flip=True), batch_size=None, num_workers=2)
    for step, batch in zip(range(6), loader, strict=False):
        assert torch.equal(batch, known.batch(step))


def test_images_that_are_decoded_late_name_their_files(tmp_path, monkeypatch):
    for i in range(6):
        Image.fromarray(noise(6, 4, 3, seed=i)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(image_rows, "MOST_IN_MEMORY", 100)
    images = load(tmp_path)
    for path in tmp_path.iterdir():
        Image.fromarray(noise(4, 4, 3)).save(path)
    with pytest.raises(ValueError, match=r"\d.png expects 4x6 pixels .*; got 4x4"):
        images.train[torch.arange(2)]


# Hugging Face
# --------------------------------------------------------------------------------------------------


def hugging_face(count, seed, labels=True):
    datasets = pytest.importorskip("datasets")
    columns = {"picture": [Image.fromarray(noise(6, 4, seed=seed + i)) for i in range(count)]}
    features = {"picture": datasets.Image()}
    if labels:
        columns["kind"] = [i % 2 for i in range(count)]
        features["kind"] = datasets.ClassLabel(names=["cat", "dog"])
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def test_hugging_face_data_on_disk(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    tables = {"train": hugging_face(10, 0), "test": hugging_face(4, 100)}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "pairs")
    images = load(f"hf:{tmp_path / 'pairs'}")
    assert repr(images) == "Images('pairs', shape=(1, 6, 4), levels=256, train=9, valid=1, test=4)"
    assert np.array_equal(images.test[3, 0].numpy(), noise(6, 4, seed=103))
    assert images.test_labels.tolist() == [0, 1, 0, 1]

    monkeypatch.setattr(image_rows, "MOST_IN_MEMORY", 100)
    late = load(f"hf:{tmp_path / 'pairs'}")
    known = Batches(images.train, 3, seed=0)
    loader = DataLoader(Batches(late.train, 3, seed=0), batch_size=None, num_workers=2)
    for step, batch in zip(range(4), loader, strict=False):
        assert torch.equal(batch, known.batch(step))


def test_hugging_face_data_without_splits(tmp_path):
    hugging_face(20, 0, labels=False).save_to_disk(tmp_path / "one")
    images = load(f"hf:{tmp_path / 'one'}", size=3)
    assert repr(images).endswith("shape=(1, 3, 3), levels=256, train=16, valid=2, test=2)")


def test_hugging_face_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_exact.data.hugging_face.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pyro_exact\[hf\]'"):
        load(f"hf:{tmp_path}")
