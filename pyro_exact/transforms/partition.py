"""Partitions: the splits of an event that are used by coupling layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pyro_exact.checks import check_size


class Partition(ABC):
    """Base class of the splits of an event into a fixed and a free part.

    It is used by `Coupling`: the fixed part stays, and the free part is transformed.

    ``event_dim`` is the count of dimensions of an event, ``size`` that of the channels (or the
    dimension of a vector), and ``fixed_size`` and ``free_size`` are the corresponding sizes of the
    parts.
    """

    event_dim: int
    size: int
    fixed_size: int
    free_size: int

    @property
    def event(self) -> tuple[int | None, ...]:
        """Shape of an event, with `None` for a dimension of any size."""
        return (self.size, *[None] * (self.event_dim - 1))

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fixed and the free part."""

    @abstractmethod
    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        """Return the event with the given parts: the inverse of `split`."""


class _HalfOfAxis(Partition):
    """The first half of an axis is fixed, the second free; or the reverse, when swapped."""

    def __init__(self, size: int, swap: bool = False) -> None:
        size = check_size(type(self).__name__, "size", size)
        self.size = size
        self.swap = swap
        self.sizes = (size // 2, size - size // 2)
        self.fixed_size, self.free_size = self.sizes[::-1] if swap else self.sizes

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split_with_sizes(self.sizes, dim=-self.event_dim)
        return (second, first) if self.swap else (first, second)

    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        parts = (free, fixed) if self.swap else (fixed, free)
        return torch.cat(parts, dim=-self.event_dim)

    def __repr__(self) -> str:
        swap = ", swap=True" if self.swap else ""
        return f"{type(self).__name__}({self.size}{swap})"


class Halves(_HalfOfAxis):
    """The first half of a vector is fixed and the second free; or the reverse, with ``swap``.

    It is used by couplings of vectors.

    Args:
        size: Dimension of the vector, of shape (*batch, size).
        swap: Whether to exchange the roles of the halves.
    """

    event_dim = 1


class Channels(_HalfOfAxis):
    """The first half of the channels is fixed and the second free.

    When ``swap`` is true, the second half is fixed and the first free. It is used by couplings of
    images.

    Args:
        size: Channels of the image, of shape (*batch, size, H, W).
        swap: Whether to exchange the roles of the halves.
    """

    event_dim = 3


class Checkerboard(Partition):
    r"""The positions of a colour of a checkerboard are fixed, the rest free. Use it for images.

    Fixed are those where row plus column is even; with ``swap``, odd. Each part is packed into an
    image of half the height and width, and twice the channels: the two positions in each block of 2
    x 2. So a convolution of the fixed part keeps the neighbourhoods, and computes no parameters
    that are not used, unlike a mask over the whole image.

    Args:
        size: Channels of the image, of shape (\*batch, size, H, W) with even H and W.
        swap: If true, exchange the roles of the colours (default false).

    Raises:
        ValueError: If height or width is odd.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.4 and
        figure 3.

    Example:
        >>> fixed, free = Checkerboard(1).split(torch.arange(16.0).view(1, 4, 4))
        >>> fixed[:, 0, 0], free[:, 0, 0]
        (tensor([0., 5.]), tensor([1., 4.]))
    """

    event_dim = 3

    def __init__(self, size: int, swap: bool = False) -> None:
        size = check_size("Checkerboard", "size", size)
        self.size = size
        self.swap = swap
        self.fixed_size = self.free_size = 2 * size

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            raise ValueError(
                f"Checkerboard expects even height and width; got {tuple(x.shape[-3:])}. "
                f"Pad the image or start with Squeeze."
            )

        # The four positions of each block.
        top = x[..., ::2, :]
        bottom = x[..., 1::2, :]
        top_left = top[..., ::2]
        top_right = top[..., 1::2]
        bottom_left = bottom[..., ::2]
        bottom_right = bottom[..., 1::2]

        even = torch.stack((top_left, bottom_right), dim=-3).flatten(-4, -3)
        odd = torch.stack((top_right, bottom_left), dim=-3).flatten(-4, -3)

        return (odd, even) if self.swap else (even, odd)

    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        even, odd = (free, fixed) if self.swap else (fixed, free)
        pair = (self.size, 2)
        top_left, bottom_right = even.unflatten(-3, pair).unbind(-3)
        top_right, bottom_left = odd.unflatten(-3, pair).unbind(-3)

        top = torch.stack((top_left, top_right), dim=-1).flatten(-2)
        bottom = torch.stack((bottom_left, bottom_right), dim=-1).flatten(-2)

        return torch.stack((top, bottom), dim=-2).flatten(-3, -2)

    def __repr__(self) -> str:
        swap = ", swap=True" if self.swap else ""
        return f"Checkerboard({self.size}{swap})"


class Columns(Partition):
    r"""The even columns of an image are fixed, and the odd columns free.

    When ``swap`` is true, the odd columns are fixed.

    Each part is an image of the same height and channels, and half the width. This split is used by
    the official code of Flow++ where the paper shows a checkerboard.

    Args:
        size: Channels of the image, of shape (\*batch, size, H, W) with even W.
        swap: If true, exchange the roles of the columns (default false).

    Raises:
        ValueError: If the width is odd.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, official code (`CheckerboardSplit`).

    Example:
        >>> fixed, free = Columns(1).split(torch.arange(8.0).view(1, 2, 4))
        >>> fixed
        tensor([[[0., 2.],
                 [4., 6.]]])
    """

    event_dim = 3

    def __init__(self, size: int, swap: bool = False) -> None:
        size = check_size("Columns", "size", size)
        self.size = size
        self.swap = swap
        self.fixed_size = self.free_size = size

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-1] % 2:
            raise ValueError(
                f"Columns expects an even width; got {tuple(x.shape[-3:])}. "
                f"Pad the image or start with Squeeze."
            )

        even = x[..., ::2]
        odd = x[..., 1::2]
        return (odd, even) if self.swap else (even, odd)

    def join(self, fixed: Tensor, free: Tensor) -> Tensor:
        parts = (free, fixed) if self.swap else (fixed, free)
        return torch.stack(parts, dim=-1).flatten(-2)

    def __repr__(self) -> str:
        swap = ", swap=True" if self.swap else ""
        return f"Columns({self.size}{swap})"
