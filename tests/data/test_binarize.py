"""Images of two levels."""

import pytest
import torch

from pyro_exact.data import Images, binarize, load

pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 30, 30)
images = Images("slope", pixels, pixels, pixels, levels=4)


def test_binarize_compares_with_the_middle():
    found = binarize(images, "threshold")
    assert (found.levels, found.name) == (2, "slope-threshold")
    assert found.train.flatten(1).float().mean(1).tolist() == [0, 0, 1, 1]


def test_binarize_draws_bits_with_the_probability_of_the_level():
    found = binarize(images, "sample", seed=1)
    means = found.train.flatten(1).float().mean(1)
    assert means[[0, 3]].tolist() == [0, 1]
    assert means[1:3].sub(torch.tensor([1 / 3, 2 / 3])).abs().max() < 0.08
    other = binarize(images, "sample", seed=2)
    assert torch.equal(other.test, found.test)
    assert not torch.equal(other.train, found.train)


def test_binarize_refuses_another_word():
    with pytest.raises(ValueError, match="'threshold' or 'sample'; got 'half'"):
        binarize(images, "half")


def test_load_binarizes():
    assert load("digits", binarize="sample").levels == 2
