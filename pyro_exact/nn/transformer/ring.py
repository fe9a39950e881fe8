"""A ring buffer of keys and values, used by the steps of causal attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.ops.functorch import functorch_active


class Ring(NamedTuple):
    """The keys and the values of the last two blocks of positions, (N, heads, capacity, d) each.

    Position s lies in slot s modulo the capacity. So half of the slots holds the present block of
    positions, and the other half the block before it.
    """

    keys: Tensor
    values: Tensor

    def put(self, slot: Tensor, key: Tensor, value: Tensor) -> Ring:
        """Return the buffer with the key and the value of another position, (N, heads, 1, d)."""
        keys = _put(self.keys, slot, key)
        values = _put(self.values, slot, value)
        return Ring(keys, values)


class Slot(NamedTuple):
    """The place of a step in the ring buffers.

    Attributes:
        slot: The slot of the position, (1).
        visible: Which slots the position sees, (capacity).
    """

    slot: Tensor
    visible: Tensor


def capacity(length: int, block: int) -> int:
    """Return the count of slots that are required for a sequence: one or two blocks."""
    return block if length <= block else 2 * block


def slot_of(position: Tensor, block: int, slots: int) -> Slot:
    """Return the place of a position, (1), which may be a tensor in a CUDA graph.

    A position sees the slots of the same block up to itself. The other half of the slots is the
    block before, which is visible as a whole when it exists.
    """
    slot = position % slots
    index = torch.arange(slots, device=position.device)
    own_block = index // block == slot // block

    visible = torch.where(own_block, index <= slot, position >= block)

    return Slot(slot, visible)


def following(position: Tensor) -> Tensor:
    """Return the position after this one, in the same tensor where a step may write."""
    return position + 1 if _read_later() else position.add_(1)


def _put(buffer: Tensor, slot: Tensor, value: Tensor) -> Tensor:
    """Return a buffer with a value in a slot, the same buffer where a step may write."""
    if _read_later():
        return buffer.index_copy(-2, slot, value)

    return buffer.index_copy_(-2, slot, value)


def _read_later() -> bool:
    """Return whether autograd or a transform may read the old state again.

    Elsewhere steps write in place, as a CUDA graph of a step must.
    """
    return torch.is_grad_enabled() or functorch_active()
