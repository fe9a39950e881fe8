"""The nearest training images."""

import numpy as np
import pytest
import torch

from pyro_exact.data import nearest


@pytest.mark.parametrize(
    ("x", "images", "error", "message"),
    [
        (np.zeros((2, 1, 4, 4)), torch.zeros(3, 1, 4, 4), TypeError, "x as a tensor; got ndarray"),
        (
            torch.zeros(2, 1, 4, 4),
            np.zeros((3, 1, 4, 4)),
            TypeError,
            "images as a tensor; got ndarray",
        ),
        (
            torch.zeros(2, 1, 4, 5),
            torch.zeros(3, 1, 4, 4),
            ValueError,
            r"x of shape \(N, 1, 4, 4\); got \(2, 1, 4, 5\)",
        ),
        (
            torch.zeros(2, 1, 4, 4),
            torch.zeros(0, 1, 4, 4),
            ValueError,
            r"images of .* at least 1; got \(0, 1, 4, 4\)",
        ),
        (
            torch.zeros(2, 1, 1, 1) / 0,
            torch.zeros(3, 1, 1, 1),
            ValueError,
            "x to be finite; got 2 of 2 elements NaN",
        ),
        (torch.tensor(1.0), torch.tensor(1.0), ValueError, "images of shape"),
    ],
)
def test_nearest_takes_batches_of_one_shape(x, images, error, message):
    with pytest.raises(error, match=f"nearest expects {message}"):
        nearest(x, images)
