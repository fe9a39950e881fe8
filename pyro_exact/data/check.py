"""The check of images that is used when images enter a model."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_finite, check_tensor


def check_images(x: Tensor, shape: tuple[int, int, int], levels: int) -> None:
    """Raise an error if a tensor is not a batch of images that a model can score.

    Args:
        x: Images in pixel levels: any integer dtype, or floats that hold integers.
        shape: Required shape (C, H, W) of an image.
        levels: Values that a pixel can take, 0, ..., levels - 1.

    Shape:
        - x: (*, C, H, W), with any batch shape, including none.

    Raises:
        TypeError: If ``x`` is not a dense tensor of an integer or floating-point type.
        ValueError: On wrong channels, height or width; on an empty batch; on a pixel that is NaN,
            infinite, not whole or outside the levels.

    Example:
        >>> check_images(torch.tensor([[[[0.0, 255.0]]]]), (1, 1, 2), levels=256)
        >>> check_images(torch.tensor([[[[0.0, 0.5]]]]), (1, 1, 2), levels=256)
        Traceback (most recent call last):
        ...
        ValueError: check_images expects whole pixel levels from 0 to 255; got 0.5. Undo the scaling
        to [0, 1]: (x * 255).round().
    """
    check_tensor("check_images", "images", x)
    if x.dtype == torch.bool:
        raise TypeError(
            f"check_images expects images of integers, or of floats that hold integers; got "
            f"{x.dtype}. Convert them with x.to(torch.uint8)."
        )
    _check_shape(x, shape)
    if x.is_floating_point():
        _check_whole(x, levels)

    lowest, highest = x.min().item(), x.max().item()
    if lowest < 0 or highest >= levels:
        raise ValueError(
            f"check_images expects pixel levels from 0 to {levels - 1}; got values from "
            f"{lowest:g} to {highest:g}. Undo any scaling or centring, and compare the number of "
            f"levels with the model's."
        )


def _check_shape(x: Tensor, shape: tuple[int, int, int]) -> None:
    got, (channels, height, width) = tuple(x.shape), shape
    if got[-3:] != shape:
        advice = "Crop, resize or convert the images, or use the model that was trained on these."
        if got[-3:] == (height, width, channels):
            advice = "Channels come first: x.movedim(-1, -3)."
        elif channels == 1 and got[-2:] == (height, width):
            advice = "Add the channel: x.unsqueeze(-3)."
        raise ValueError(
            f"check_images expects images of shape (*, {channels}, {height}, {width}); got {got}. "
            f"{advice}"
        )

    if x.numel() == 0:
        raise ValueError(
            f"check_images expects at least one image; got an empty batch of shape {got}. Pass "
            f"images."
        )


def _check_whole(x: Tensor, levels: int) -> None:
    check_finite("check_images", "images", x, "Repair or drop these images")
    fractional = x != x.round()
    if not fractional.any():
        return

    lowest, highest = x.min(), x.max()
    advice = "Round them, or undo the dequantization with x.floor()."
    if lowest >= 0 and highest <= 1:
        advice = f"Undo the scaling to [0, 1]: (x * {levels - 1}).round()."
    elif lowest >= -1 and highest <= 1:
        advice = f"Undo the scaling to [-1, 1]: ((x + 1) / 2 * {levels - 1}).round()."
    raise ValueError(
        f"check_images expects whole pixel levels from 0 to {levels - 1}; got "
        f"{x[fractional][0].item():g}. {advice}"
    )
