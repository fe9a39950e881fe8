"""The nearest images of a data set, used to check whether a model has memorised training images."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_batch, check_finite, check_size, check_tensor


def nearest(x: Tensor, images: Tensor, chunk: int = 4096) -> Tensor:
    """Return the nearest image of a data set for each of some images.

    The distance is the sum of squared differences.

    Args:
        x: Pixel levels.
        images: Pixel levels of the images to choose from.
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
    shape = check_tensor("nearest", "images", images).shape[1:]
    for name, batch in (("images", images), ("x", x)):
        check_batch("nearest", name, batch, shape)
        check_finite("nearest", name, batch, "Leave those images out")

    wanted = x.flatten(1).float()
    distances = [torch.cdist(wanted, some.flatten(1).float()) for some in images.split(chunk)]
    return images[torch.cat(distances, dim=1).argmin(dim=1)]
