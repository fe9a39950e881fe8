"""The nearest images of a data set, used to check whether a model has memorised training images."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_batch, check_finite, check_size
from pyro_exact.data.dataset import Rows
from pyro_exact.data.views import check_rows


def nearest(x: Tensor, images: Rows, chunk: int = 4096) -> Tensor:
    """Return the nearest image of a data set for each of some images.

    The distance is the sum of squared differences.

    Args:
        x: Pixel levels.
        images: Pixel levels of the images to choose from: a tensor, or rows in files.
        chunk: Images that are compared at once.

    Shape:
        - x: (N, C, H, W).
        - images: (M, C, H, W), M at least 1.
        - output: (N, C, H, W), of the dtype of ``images``.

    Raises:
        TypeError: If an argument is not a tensor.
        ValueError: If there are no images, the shapes differ, or an element is not finite.

    Example:
        >>> images = torch.arange(5).view(5, 1, 1, 1)
        >>> nearest(torch.tensor([3, 9]).view(2, 1, 1, 1), images).flatten()
        tensor([3, 4])
    """
    chunk = check_size("nearest", "chunk", chunk)
    check_rows("nearest", "images", images)
    shape = tuple(images.shape[1:])
    if isinstance(images, Tensor):
        check_batch("nearest", "images", images, shape)
    check_batch("nearest", "x", x, shape)
    check_finite("nearest", "x", x, "Leave these images out")

    total = len(images)
    wanted = x.flatten(1).float()
    lowest = torch.full((len(x),), torch.inf)
    chosen = torch.zeros(len(x), dtype=torch.int64)

    for start in range(0, total, chunk):
        end = min(start + chunk, total)
        some = images[torch.arange(start, end)]
        check_finite("nearest", "images", some, "Leave these images out")

        distances = torch.cdist(wanted, some.flatten(1).float())
        distance, index = distances.min(dim=1)

        nearer = distance < lowest
        lowest = torch.where(nearer, distance, lowest)
        chosen = torch.where(nearer, start + index, chosen)
    return images[chosen]
