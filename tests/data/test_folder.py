"""Data sets in folders of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_exact.data import load


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def rows(x):
    return {bytes(image.numpy().tobytes()) for image in x}


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
        ValueError,
        match=r"001.png expects 8 bits a channel; got 16.*keep the high 8 bits.*--levels 256",
    ):
        load(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"expects subfolders train and test .* got train"):
        load(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match=r"train expects images"):
        load(tmp_path)
