"""From the real line to an interval for each element."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.checks import check_finite, check_shape
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import of_event
from pyro_exact.transforms.parts import sum_event


class Interval(Bijection):
    r"""Map each element to an interval. Use it to bound a flow.

    .. math::
        y = l + (h - l)\, \sigma(x), \qquad
        \log|\det \partial y/\partial x| = \sum \log (h - l) + \log \sigma(x) + \log \sigma(-x)

    The distance from the nearer end is computed without cancellation. The intervals are the
    ``codomain`` of the layer, and so the support of a distribution that ends with it. The inverse
    of an element outside is NaN, and that of an end is infinite.

    Args:
        low: :math:`l`, a float, or a tensor that broadcasts to ``shape``.
        high: :math:`h`, likewise.
        shape: Shape of an event; an integer n means (n,).

    Cost:
        - forward: a sigmoid for each element.
        - inverse: closed form, two logarithms for each element.

    Shape:
        - x, y: (\*batch, \*shape); ladj: (\*batch).

    Raises:
        ValueError: If a bound is not finite, or ``low`` is not below ``high``.

    Example:
        >>> Interval(0.0, torch.tensor([1.0, 10.0]), 2)(torch.zeros(2))
        tensor([0.5000, 5.0000])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        low: float | Tensor,
        high: float | Tensor,
        shape: int | Sequence[int],
    ) -> None:
        event = check_shape("Interval", "shape", shape)
        super().__init__(event)
        for name, bound in (("low", low), ("high", high)):
            value = torch.as_tensor(bound, dtype=torch.get_default_dtype())
            check_finite("Interval", name, value, "Choose finite bounds")
            self.register_buffer(name, value.expand(event).clone())

        if not (self.low < self.high).all():
            raise ValueError(
                f"Interval expects low below high; got {low} and {high}. Exchange or change them."
            )

        self.same = not (isinstance(low, Tensor) or isinstance(high, Tensor))
        ends = (low, high) if self.same else (self.low, self.high)
        self.bounds = constraints.interval(*ends)
        self.codomain = of_event(self.bounds, len(event))

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x, low, high = self._with_bounds(x)
        width = high - low

        # From the nearer end of the interval.
        from_low = low + width * x.sigmoid()
        from_high = high - width * (-x).sigmoid()
        y = torch.where(x < 0, from_low, from_high)
        log_slope = width.log() + F.logsigmoid(x) + F.logsigmoid(-x)

        return y.clamp(low, high), sum_event(log_slope, len(self.event))

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, low, high = self._with_bounds(y)
        log_below = (y - low).log()
        log_above = (high - y).log()

        # sigma = (y - l) / (h - l) and 1 - sigma = (h - y) / (h - l)
        log_slope = log_below + log_above - (high - low).log()

        return log_below - log_above, -sum_event(log_slope, len(self.event))

    def _with_bounds(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        low = self.low.to(x.dtype)
        high = self.high.to(x.dtype)
        return x, low, high

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Interval:
        """Move the bounds of the constraint with the layer; containers hold the same object."""
        super()._apply(fn, recurse)
        if not self.same:
            self.bounds.lower_bound = self.low
            self.bounds.upper_bound = self.high

        return self

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"{self.event}"
