"""Pictures: what is in them, and that they are PNG files."""

import errno
import os

import pytest
import torch
from matplotlib.image import imread

from pyro_exact.files import UnwritableError
from pyro_exact.plots import image_grid, save_curve, save_grids

CURVE = {
    "train": [[10, 1.0, 5.0], [20, 2.0, 4.0], [30, 3.0, 3.9]],
    "valid": [[15, 1.5, 4.5], [30, 3.0, 4.2]],
}


def test_a_grid_holds_the_images_row_by_row_with_a_gap():
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


@pytest.mark.parametrize("curve", [CURVE, {"train": [], "valid": CURVE["valid"]}, {"train": [], "valid": []}])
@pytest.mark.parametrize("anchors", [None, {"a code": 5.0}])
def test_a_curve_becomes_a_picture(tmp_path, curve, anchors):
    save_curve(curve, tmp_path / "curve.png", anchors)
    assert imread(tmp_path / "curve.png").std() > 0


def test_a_picture_survives_a_full_disk(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "curve.png"
    path.write_bytes(b"an older picture")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UnwritableError, match=r"curve\.png could not be written: .*No space.*previous one is kept"):
        save_curve(CURVE, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("curve.png", b"an older picture")]
