"""Dropout from 16 random bits for each element."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dropout(x: Tensor, p: float) -> Tensor:
    """Set each element to zero with probability p, and divide the rest by 1 - p.

    On a CPU this draws 16 random bits for each element, so that p is exact to within 2^-16; the
    `dropout_reference` of torch takes several times as long. On other devices, torch is used.

    Args:
        x: A tensor.
        p: Probability; must lie in [0, 1).
    """
    if p == 0 or x.device.type != "cpu":
        return dropout_reference(x, p)

    # Four random numbers of 16 bits in each 64-bit integer.
    count = -(-x.numel() // 4)
    words = torch.empty(count, dtype=torch.int64)
    words.random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()]
    bits = bits.view(x.shape)

    # An element is kept with probability kept / 2^16.
    count = 2**16
    kept = max(1, round((1 - p) * count))
    mask = bits < kept - count // 2
    scale = mask.to(x.dtype)
    scale.mul_(count / kept)

    return x * scale


def dropout_reference(x: Tensor, p: float) -> Tensor:
    """Compute `dropout` via torch, which draws different random values."""
    return F.dropout(x, p)
