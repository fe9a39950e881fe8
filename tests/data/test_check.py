"""The check of images."""

import numpy as np
import pytest
import torch

from pyro_exact.data import check_images


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_check_images_accepts(dtype, batch):
    assert (
        check_images(torch.full((*batch, 3, 4, 6), 16, dtype=dtype), (3, 4, 6), levels=17) is None
    )


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (np.zeros((1, 4, 6)), TypeError, r"expects images as a tensor; got ndarray"),
        (
            torch.zeros(1, 4, 6, dtype=torch.bool),
            TypeError,
            r"got torch.bool. Convert them with x.to\(torch.uint8\)",
        ),
        (torch.zeros(1, 4, 6, dtype=torch.cfloat), TypeError, r"real numbers; got torch.complex64"),
        (
            torch.zeros(2, 3, 4, 6),
            ValueError,
            r"expects images of shape \(\*, 1, 4, 6\); got \(2, 3, 4, 6\)",
        ),
        (
            torch.zeros(2, 1, 4, 5),
            ValueError,
            r"expects images of shape \(\*, 1, 4, 6\); got \(2, 1, 4, 5\). Crop",
        ),
        (torch.zeros(2, 4, 6, 1), ValueError, r"Channels come first: x.movedim\(-1, -3\)"),
        (torch.zeros(2, 4, 6), ValueError, r"Add the channel: x.unsqueeze\(-3\)"),
        (torch.tensor(0.0), ValueError, r"got \(\)"),
        (
            torch.zeros(0, 1, 4, 6),
            ValueError,
            r"expects at least one image; got an empty batch of shape \(0, 1, 4, 6\)",
        ),
        (torch.full((1, 4, 6), torch.nan), ValueError, r"got 24 of 24 elements NaN"),
        (torch.full((1, 4, 6), torch.inf), ValueError, r"got 24 of 24 elements infinite"),
        (
            torch.full((1, 4, 6), 0.25),
            ValueError,
            r"got 0.25. Undo the scaling to \[0, 1\]: \(x \* 16\).round\(\)",
        ),
        (torch.full((1, 4, 6), -0.25), ValueError, r"got -0.25. Undo the scaling to \[-1, 1\]"),
        (
            torch.full((1, 4, 6), 3.5),
            ValueError,
            r"got 3.5. Round them, or undo the dequantization",
        ),
        (
            torch.full((1, 4, 6), -1),
            ValueError,
            r"pixel levels from 0 to 16; got values from -1 to -1",
        ),
        (
            torch.full((1, 4, 6), 17.0),
            ValueError,
            r"pixel levels from 0 to 16; got values from 17 to 17",
        ),
        (torch.full((1, 4, 6), 255, dtype=torch.uint8), ValueError, r"got values from 255 to 255"),
    ],
)
def test_check_images_names_what_is_wrong(x, error, match):
    with pytest.raises(error, match=match):
        check_images(x, (1, 4, 6), levels=17)
