"""A data set of images: its shape, its splits and its errors."""

import pytest
import torch

from pyro_exact.data import Images


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def test_images_know_their_shape_and_splits():
    train, other = pixels(5, 3, 4, 6), pixels(2, 3, 4, 6, seed=1)
    images = Images("toy", train, other, other, levels=256, train_labels=torch.arange(5))
    assert images.shape == (3, 4, 6)
    assert images.split("train") is train
    assert images.labels("train").tolist() == [0, 1, 2, 3, 4]
    assert images.labels("test") is None
    assert repr(images) == "Images('toy', shape=(3, 4, 6), levels=256, train=5, valid=2, test=2)"
    with pytest.raises(
        ValueError, match=r"Images toy expects a split out of train, valid, test; got 'eval'"
    ):
        images.split("eval")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"train": pixels(5, 1, 4, 4).float()},
            TypeError,
            r"expects train images of uint8 .* got torch.float32",
        ),
        ({"test": [[1]]}, TypeError, r"expects test images as a tensor; got list"),
        (
            {"valid": pixels(5, 4, 4)},
            ValueError,
            r"expects valid images of shape \(N, C, H, W\); got \(5, 4, 4\)",
        ),
        ({"valid": pixels(5, 1, 4, 4)[:0]}, ValueError, r"expects valid images, at least one"),
        (
            {"test": pixels(5, 1, 4, 5)},
            ValueError,
            r"expects test images of shape \(1, 4, 4\), as in train; got \(1, 4, 5\)",
        ),
        (
            {"levels": 17},
            ValueError,
            r"expects train images with pixels from 0 to 16 \(17 levels\); got 255",
        ),
        ({"levels": 257}, ValueError, r"expects levels from 2 to 256; got 257"),
        (
            {"train_labels": torch.zeros(5)},
            TypeError,
            r"expects train labels of int64; got torch.float32",
        ),
        (
            {"test_labels": torch.arange(4)},
            ValueError,
            r"expects test labels of shape \(5,\).* got \(4,\)",
        ),
        (
            {"valid_labels": torch.arange(5) - 1},
            ValueError,
            r"expects valid labels from 0 on; got -1",
        ),
    ],
)
def test_images_name_what_is_wrong(change, error, match):
    x = pixels(5, 1, 4, 4)
    with pytest.raises(error, match=match):
        Images(**({"name": "toy", "train": x, "valid": x, "test": x, "levels": 256} | change))
