"""Numbers as tensors, for formulas of small tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.ops.functorch import functorch_active

_made: dict[tuple[float, torch.dtype], Tensor] = {}


def scalar(value: float, like: Tensor) -> Tensor | float:
    """Return a number as a tensor without dimensions, in the type of another tensor.

    Use it for the constants of a formula. For ``x * 0.5``, torch makes such a tensor in double
    precision and converts it, in each call and again in the backward pass. When ``x`` is small,
    this takes longer than the product. The values are equal.

    Args:
        value: The number.
        like: The tensor with which the number is combined.
    """
    # A compiler has no such costs, and a subclass of tensors has rules of its own. When a model is
    # traced, a constant that depends on a shape is already a tensor.
    if torch.compiler.is_compiling() or type(like) is not Tensor or isinstance(value, Tensor):
        return value

    made = _made.get((value, like.dtype))
    return _make(value, like.dtype) if made is None else made


def _make(value: float, dtype: torch.dtype) -> Tensor | float:
    """Return the tensor and keep it, unless a transform of tensors would wrap it."""
    if functorch_active():
        return value

    # It is on the CPU, where torch accepts it as a factor of tensors of any device. A tensor of
    # inference mode could not be saved for a gradient.
    with torch.inference_mode(False):
        tensor = torch.tensor(value, dtype=dtype, device="cpu")

    if type(tensor) is not Tensor:
        return value

    _made[value, dtype] = tensor
    return tensor
