"""Grids of images."""

import errno
import os

import pytest
import torch
from matplotlib.image import imread

from pyro_exact.files import UnwritableError
from pyro_exact.plots import MARGIN, PANEL, drawable_grid, image_grid, save_curve, save_grids

CURVE = {
    "train": [[10, 1.0, 5.0], [20, 2.0, 4.0], [30, 3.0, 3.9]],
    "valid": [[15, 1.5, 4.5], [30, 3.0, 4.2]],
}


def test_grid_holds_the_images_row_by_row_with_a_gap():
    images = torch.arange(1, 4).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert image_grid(images, columns=2, fill=3).tolist() == [
        [[1, 1, 3, 2, 2], [1, 1, 3, 2, 2], [3, 3, 3, 3, 3], [3, 3, 3, 3, 3], [3, 3, 3, 3, 3]]
    ]


@pytest.mark.parametrize("count", [1, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_grids_become_a_picture(tmp_path, count, channels):
    images = torch.randint(0, 256, (count, channels, 4, 4), dtype=torch.uint8)
    path = tmp_path / "below" / "grids.png"
    save_grids({"uint8": images, "int64": images.long()}, 256, path)
    assert imread(path).ndim == 3
    assert [file.name for file in path.parent.iterdir()] == ["grids.png"]


def test_grids_come_side_by_side_or_in_rows(tmp_path):
    grids, shapes = {name: torch.ones(4, 1, 3, 3) for name in "ab"}, []
    for rows in (1, 2):
        save_grids(grids, 2, tmp_path / "grids.png", columns=2, rows=rows)
        shapes.append(imread(tmp_path / "grids.png").shape)
    (height, width, _), (tall, narrow, _) = shapes
    assert (tall, 2 * narrow) == (2 * height, width)


def test_picture_survives_a_full_disk(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "curve.png"
    path.write_bytes(b"an older picture")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        UnwritableError, match=r"curve\.png could not be written: .*No space.*previous one is kept"
    ):
        save_curve(CURVE, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("curve.png", b"an older picture")
    ]


def picture_of(images, tmp_path, levels=256, **layout):
    """The picture of one grid in grey levels, and where in it the grid lies."""
    save_grids({"": images}, levels, tmp_path / "p.png", **layout)
    return (imread(tmp_path / "p.png")[..., :3] * 255).round()


@pytest.mark.parametrize("side", [3, 40, 100, 300])
def test_pixels_take_a_whole_number_of_pixels(tmp_path, side):
    """Small images are enlarged and large ones are not reduced: in no column or row is a pixel lost."""
    torch.manual_seed(side)
    images = torch.randint(0, 256, (4, 3, side, side))
    picture = picture_of(images, tmp_path, columns=2)
    grid = image_grid(images, 2, fill=255)
    scale = max(1, PANEL // grid.shape[-1])
    expected = grid.movedim(0, -1).repeat_interleave(scale, 0).repeat_interleave(scale, 1).numpy()
    height, width = expected.shape[:2]
    left, bottom = (picture.shape[1] - width) // 2, MARGIN
    found = picture[len(picture) - bottom - height : len(picture) - bottom, left : left + width]
    assert (found == expected).all()


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_grid_shows_channels_that_are_no_colours_as_grey_tiles(tmp_path, channels):
    images = torch.arange(channels).view(1, channels, 1, 1).expand(2, channels, 4, 4) * 50
    grid = drawable_grid(images / 255)
    assert grid.shape == (1, channels * 5 - 1, 11)
    assert (grid[0, ::5, 0] * 255).round().tolist() == [50 * channel for channel in range(channels)]
    shades = torch.from_numpy(picture_of(images, tmp_path)).view(-1, 3).unique(dim=0)
    assert {(50.0 * channel,) * 3 for channel in range(channels)} <= {
        tuple(shade) for shade in shades.tolist()
    }


def test_grid_of_vectors_has_a_row_for_each(tmp_path):
    vectors = torch.eye(6).view(6, 1, 1, 6)
    grid = drawable_grid(vectors, columns=4)
    assert grid.shape == (1, 7 + 3 + 7, 6)
    assert torch.equal(grid[0, :7:2], torch.eye(6)[:4])
    assert torch.equal(grid[0, 10:13:2], torch.eye(6)[4:])
    assert picture_of(vectors, tmp_path, levels=2, columns=4).shape[1] >= 60


@pytest.mark.parametrize("title", ["W" * 100, "a word " * 30, "$x^$", "\x1b[2J"])
def test_titles_fit(tmp_path, title):
    white = torch.ones(2, 1, 4, 4)
    save_grids({title: white, f"{title}2": white}, 2, tmp_path / "p.png")
    dark = (imread(tmp_path / "p.png")[..., :3].min(-1) < 0.9).any(0)
    left, right = dark[: len(dark) // 2], dark[len(dark) // 2 :]
    for half in (left, right):
        assert half.any()
        assert not half[: MARGIN - 1].any()
        assert not half[1 - MARGIN :].any()


@pytest.mark.parametrize(
    ("images", "levels", "message"),
    [
        (
            torch.full((1, 1, 2, 2), torch.nan),
            2,
            "the images 'a' to be finite; got 4 of 4 elements NaN",
        ),
        (
            torch.full((1, 1, 2, 2), -(2**63)),
            2,
            "with levels from 0 to 1; got values from -9.22337e",
        ),
        (torch.full((1, 1, 2, 2), 2), 2, "got values from 2 to 2"),
        (torch.zeros(0, 1, 2, 2), 2, r"at least one; got \(0, 1, 2, 2\)"),
        (torch.zeros(2, 2), 2, r"of shape \(N, C, H, W\).*got \(2, 2\)"),
        (
            torch.zeros(1).expand(9000, 1, 32, 32),
            2,
            r"9000 images of shape \(1, 32, 32\),.*Use fewer images",
        ),
    ],
)
def test_grid_refuses_what_is_no_image(tmp_path, images, levels, message):
    with pytest.raises(ValueError, match=message):
        save_grids({"a": images}, levels, tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []
