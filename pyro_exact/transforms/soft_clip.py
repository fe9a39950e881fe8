"""A smooth map of the real line to an interval, with algebraic tails."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_number, check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import (
    LARGEST_EVENT_DIM,
    at_least_float32,
    of_event,
)
from pyro_exact.transforms.parts import sum_event


class SoftClip(Bijection):
    r"""Map the real line to the interval :math:`(-B, B)`. Use it to bound a flow smoothly.

    .. math::
        y = \frac{x}{1 + |x| / B}, \qquad
        \log|\det \partial y/\partial x| = -2 \sum \log (1 + |x| / B)

    Near 0 it is the identity. The tails approach the ends like :math:`1 / |x|`, unlike the
    exponential tails of a sigmoid, so that elements up to :math:`10^7 B` are different in float32.
    The ``codomain`` is the interval; at and beyond the ends the inverse is infinite or NaN.

    Args:
        bound: :math:`B`, in units of ``x``.
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.

    Cost:
        - forward: a division for each element.
        - inverse: closed form, the same.

    Shape:
        - x, y: (\*batch, \*event); ladj: (\*batch).

    Raises:
        ValueError: If ``bound`` is not positive.

    Example:
        >>> SoftClip(2.0, event_dim=1)(torch.tensor([-2.0, 0.0, 6.0]))
        tensor([-1.0000,  0.0000,  1.5000])
    """

    def __init__(self, bound: float = 1.0, event_dim: int = 1) -> None:
        event_dim = check_size("SoftClip", "event_dim", event_dim, least=0, most=LARGEST_EVENT_DIM)
        super().__init__([None] * event_dim)
        self.bound = check_number("SoftClip", "bound", bound, 1e-12, 1e12)
        self.codomain = of_event(constraints.interval(-self.bound, self.bound), event_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        (x,) = at_least_float32(x)
        excess = 1 + x.abs() / self.bound
        log_slope = -2 * excess.log()
        return x / excess, sum_event(log_slope, self.domain.event_dim)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (y,) = at_least_float32(y)

        # 1 - |y| / B, from the distance to the end: it is exact next to the end.
        rest = (self.bound - y.abs()) / self.bound
        rest = rest.where(rest >= 0, math.nan)
        log_slope = -2 * rest.log()
        return y / rest, sum_event(log_slope, self.domain.event_dim)

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"{self.bound}, event_dim={self.domain.event_dim}"
