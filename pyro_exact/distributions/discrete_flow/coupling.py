"""The layer of an integer flow: a part of the channels is shifted by integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_size
from pyro_exact.nn.conditioner import Conditioner


class IntegerCoupling(nn.Module):
    r"""Shift some channels by integers that are computed from the others, on a circle of levels.

    .. math:: y_\mathrm{free} = (x_\mathrm{free} + \lfloor L\, g(x_\mathrm{fixed} / L) \rceil)
        \bmod L

    This is a permutation of the images, so there is no Jacobian. The derivative of the rounding is
    taken to be 1 (straight-through). Before this, the channels are permuted at random.

    Args:
        channels: Channels of the image.
        free: How many of the channels are shifted.
        levels: Levels of an element, L.
        conditioner: The network g, from the fixed channels to one parameter of each free element.

    Shape:
        - x, y: (N, channels, H, W), integers in {0, ..., levels - 1} of a floating-point type.

    Reference:
        Hoogeboom, Peters, van den Berg and Welling (2019), Integer Discrete Flows and Lossless
        Compression, sections 3.1 and 4.1; there sums do not wrap around.
    """

    order: Tensor
    back: Tensor

    def __init__(
        self,
        channels: int,
        free: int,
        levels: int,
        conditioner: Conditioner,
    ) -> None:
        super().__init__()
        self.free = check_size("IntegerCoupling", "free", free, most=channels)
        self.fixed, self.levels = channels - free, levels
        self.conditioner = conditioner

        order = torch.randperm(channels)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor) -> Tensor:
        """Return y."""
        fixed, free = x[:, self.order].split([self.fixed, self.free], dim=1)
        return torch.cat((fixed, self._wrapped(free + self._shift(fixed))), dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """Return x, exactly."""
        fixed, free = y.split([self.fixed, self.free], dim=1)
        x = torch.cat((fixed, self._wrapped(free - self._shift(fixed))), dim=1)
        return x[:, self.back]

    def _shift(self, fixed: Tensor) -> Tensor:
        """Return integers; the copy makes the layout in memory the same in both directions."""
        plain = fixed.clone(memory_format=torch.contiguous_format)
        shift = self.levels * self.conditioner(plain / self.levels).squeeze(-1)
        return shift + (shift.round() - shift).detach()

    def _wrapped(self, x: Tensor) -> Tensor:
        """Return x modulo the levels, with the derivative 1."""
        return x - self.levels * (x.detach() / self.levels).floor()
