"""The data sets that come with the package."""

import numpy as np
import pytest
import torch

from pyro_exact.data import load


def test_digits_have_the_sizes_of_the_bundled_set():
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
def test_bundled_photos_splits_share_no_pixel(monkeypatch, fraction, band):
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


def test_bundled_photos_are_the_photographs():
    from sklearn.datasets import load_sample_images

    china, flower = (
        torch.tensor(picture).permute(2, 0, 1) for picture in load_sample_images().images
    )
    images = load("photos")
    assert torch.equal(images.train[0], china[:, :32, :32])
    assert torch.equal(images.train[1], china[:, :32, 8:40])
    assert torch.equal(images.test[-1], flower[:, 384:416, 608:640])
