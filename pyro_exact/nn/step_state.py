"""The state of a network that takes one site after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

State = tuple[Any, ...]  # the first is `progress`; the rest holds tensors, and is the network's own


def progress(member: int, done: int) -> Tensor:
    """Return an empty tensor whose shape says which member takes its steps, and how many are done.

    As part of a state a shape can be traced, and read without waiting for a device.
    """
    return torch.empty(member, done, 0)
