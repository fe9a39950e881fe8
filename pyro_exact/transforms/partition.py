"""How a coupling layer splits its input into a part that stays and a part that changes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Partition(ABC):
    """A split of an event into a fixed and a free part, and back.

    ``event_dim`` is the number of dimensions of an event, ``size`` its number of channels (or its dimension),
    ``fixed_size`` and ``free_size`` those of the parts.
    """

    event_dim: int
    size: int
    fixed_size: int
    free_size: int

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fixed and the free part."""

    @abstractmethod
    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        """Return the event with the given parts: the inverse of `split`."""


class _HalfOfAxis(Partition):
    """The first half of one axis is fixed, the second free; swapped, the other way round."""

    def __init__(self, size: int, swap: bool = False) -> None:
        if size < 1:
            raise ValueError(f"{type(self).__name__} expects a positive size; got {size}.")
        self.size, self.swap = size, swap
        sizes = (size // 2, size - size // 2)
        self.fixed_size, self.free_size = sizes[::-1] if swap else sizes

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = self.size // 2
        axis = x.dim() - self.event_dim
        first, second = x.narrow(axis, 0, cut), x.narrow(axis, cut, self.size - cut)
        return (second, first) if self.swap else (first, second)

    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        return torch.cat((free, fixed) if self.swap else (fixed, free), dim=-self.event_dim)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size}{', swap=True' if self.swap else ''})"


class Halves(_HalfOfAxis):
    """The first half of a vector is fixed and the second free; with ``swap``, the other way round.

    Args:
        size: Dimension of the vector, of shape (*batch, size).
        swap: Whether to exchange the roles of the halves.
    """

    event_dim = 1


class Channels(_HalfOfAxis):
    """The first half of the channels is fixed and the second free; with ``swap``, the other way round.

    Args:
        size: Number of channels of the image, of shape (*batch, size, H, W).
        swap: Whether to exchange the roles of the halves.
    """

    event_dim = 3
