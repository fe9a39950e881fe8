"""Arithmetic that autocast must not round."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

NOTHING = nullcontext()


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which the products of tensors keep their own precision, also under autocast.

    Use it for formulas, and for networks that both directions of a layer must evaluate alike. Outside of autocast it
    does nothing, and takes no time.

    Args:
        x: A tensor on the device in question.
    """
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type):
        return NOTHING
    return torch.autocast(device_type, enabled=False)
