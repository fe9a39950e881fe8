"""Trading resolution for channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_exact.checks import check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape

LARGEST_FACTOR = 4096  # its square counts channels


class Squeeze(Bijection):
    r"""Turn each ``factor`` x ``factor`` block of positions into channels.

    Use this layer between the scales of an image flow. The log-determinant is zero.

    .. math:: y_{c f^2 + i f + j,\, h,\, w} = x_{c,\, h f + i,\, w f + j}

    The order is used by Glow: output channel :math:`c f^2 + i f + j` at :math:`(h, w)` is input
    channel :math:`c` at :math:`(h f + i, w f + j)`. The channels of a colour stay together, so the
    first half of the channels of a squeezed grey image holds the even rows.

    Args:
        factor: Side of a block (default 2).

    Cost:
        - forward: a copy.
        - inverse: a copy.

    Shape:
        - x: (\*batch, C, H, W); y: (\*batch, C factor², H / factor, W / factor); ladj: (\*batch).

    Raises:
        ValueError: If height or width is not a multiple of ``factor``.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Real NVP, section 3.6; the order is that of Glow's
        official code.

    Example:
        >>> Squeeze()(torch.arange(16.0).view(1, 4, 4))[0]
        tensor([[ 0.,  2.],
                [ 8., 10.]])
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__([None] * 3)
        self.factor = check_size("Squeeze", "factor", factor, most=LARGEST_FACTOR)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shape = self.forward_shape(x.shape)
        f = self.factor

        # Views and one copy: F.pixel_unshuffle is slower, and gives an empty batch another shape.
        # (*batch, C, H / f, f, W / f, f)
        *batch, channels, height, width = shape
        blocks = x.unflatten(-1, (-1, f))
        blocks = blocks.unflatten(-3, (-1, f))

        # (*batch, H / f, W / f, C, f, f)
        rows = blocks.movedim((-5, -3, -1), (-3, -2, -1))
        y = rows.reshape(*batch, height, width, channels)

        return y.movedim(-1, -3), x.new_zeros(x.shape[:-3])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shape = self.inverse_shape(y.shape)
        f = self.factor

        # (*batch, C, f, f, H / f, W / f) -> (*batch, C, H / f, f, W / f, f)
        blocks = y.unflatten(-3, (-1, f, f))
        blocks = blocks.movedim((-4, -3), (-3, -1))

        return blocks.reshape(shape), y.new_zeros(y.shape[:-3])

    def forward_shape(self, shape: Shape) -> torch.Size:
        *batch, c, h, w = super().forward_shape(shape)
        f = self.factor
        if h % f or w % f:
            common = math.gcd(h, w)
            other = "" if common == 1 else f", or use a factor that divides {common}"
            raise ValueError(
                f"Squeeze expects height and width that are multiples of {f}; got {(c, h, w)}. Pad "
                f"the image{other}."
            )

        return torch.Size((*batch, c * f * f, h // f, w // f))

    def inverse_shape(self, shape: Shape) -> torch.Size:
        *batch, c, h, w = super().inverse_shape(shape)
        f = self.factor
        if c % (f * f):
            raise ValueError(
                f"The inverse of Squeeze expects a multiple of {f * f} channels; got {(c, h, w)}. "
                f"Use another factor."
            )

        return torch.Size((*batch, c // (f * f), h * f, w * f))

    def extra_repr(self) -> str:
        return f"{self.factor}"
