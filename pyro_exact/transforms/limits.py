"""From the real line to limits that each element may have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint
from torch.nn import functional as F

from pyro_exact.transforms.bijection import Bijection


class Limits(Bijection):
    r"""Map some elements to intervals, and leave the remaining elements as they are.

    Use this layer to bound some columns of a table. See `Interval` when all elements are bounded.

    .. math::
        y_i = \begin{cases}
        l_i + (h_i - l_i)\, \sigma(x_i) & \text{between both limits} \\
        l_i + e^{x_i}, \quad h_i - e^{-x_i} & \text{with one limit} \\
        x_i & \text{without limits}
        \end{cases}

    The limits are the ``codomain`` of the layer, and so the support of a distribution that ends
    with it. The inverse of an element outside is NaN, and that of a limit is infinite.

    Args:
        low: :math:`l`; minus infinity for an element without a lower limit.
        high: :math:`h`; infinity for an element without an upper limit.

    Cost:
        - forward: a sigmoid and an exponential for each element.
        - inverse: closed form, two logarithms for each element.

    Shape:
        - low, high: (D,).
        - x, y: (\*batch, D); ladj: (\*batch).

    Raises:
        ValueError: If the shapes differ, a limit is NaN, or ``low`` is not below ``high``.

    Example:
        >>> inf = float("inf")
        >>> layer = Limits(torch.tensor([0.0, 0.0, -inf]), torch.tensor([4.0, inf, inf]))
        >>> layer(torch.zeros(3))
        tensor([2., 1., 0.])
    """

    low: Tensor
    high: Tensor
    has_low: Tensor
    has_high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        low, high = (
            torch.as_tensor(end, dtype=torch.get_default_dtype()).clone() for end in (low, high)
        )
        if low.dim() != 1 or low.shape != high.shape:
            raise ValueError(
                f"Limits expects low and high of shape (D,); got {tuple(low.shape)} and "
                f"{tuple(high.shape)}. Pass a limit for each element, infinite for none."
            )
        if not bool((low < high).all()):
            raise ValueError(
                f"Limits expects low below high; got {low.tolist()} and {high.tolist()}. Exchange "
                f"or change them."
            )

        super().__init__(low.shape)
        # Finite values where there is no limit, so that no branch has an infinite gradient.
        self.register_buffer("has_low", low.isfinite())
        self.register_buffer("has_high", high.isfinite())
        self.register_buffer("low", low.where(self.has_low, 0.0))
        self.register_buffer("high", high.where(self.has_high, 0.0))
        self.codomain = _Within(self)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        low, high, width = self._ends(x)
        both = self.has_low & self.has_high
        low_alone = self.has_low & ~both
        high_alone = self.has_high & ~both

        # l + (h - l) sigma(x), from the nearer end of an interval.
        below = low + width * x.sigmoid()
        above = high - width * (-x).sigmoid()
        between = torch.where(x < 0, below, above)
        between = between.clamp(low, torch.maximum(low, high))

        y = torch.where(both, between, x)
        y = torch.where(low_alone, low + _exp(x, low_alone), y)
        y = torch.where(high_alone, high - _exp(-x, high_alone), y)

        # log (h - l) + log sigma(x) + log sigma(-x), or the exponent of an exponential.
        log_slope = width.log() + F.logsigmoid(x) + F.logsigmoid(-x)
        exponent = torch.where(low_alone, x, 0.0)
        exponent = torch.where(high_alone, -x, exponent)
        return y, torch.where(both, log_slope, exponent).sum(-1)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        low, high, width = self._ends(y)
        has_low, has_high = self.has_low, self.has_high

        # An element without a limit has distance 1, and so logarithm 0.
        log_below = torch.where(has_low, y - low, 1.0).log()
        log_above = torch.where(has_high, high - y, 1.0).log()
        x = torch.where(has_low | has_high, log_below - log_above, y)

        both = torch.where(has_low & has_high, width, 1.0).log()
        return x, -(log_below + log_above - both).sum(-1)

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both limits, and the width of the intervals, which is 1 elsewhere."""
        low, high = self.low.to(x.dtype), self.high.to(x.dtype)
        return low, high, torch.where(self.has_low & self.has_high, high - low, 1.0)

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"{len(self.low)}"


class _Within(Constraint):
    """Vectors within the limits of a layer, which may move to another device."""

    event_dim = 1

    def __init__(self, layer: Limits) -> None:
        self.layer = layer

    def check(self, value: Tensor) -> Tensor:
        layer = self.layer
        above = ~layer.has_low | (value >= layer.low)
        below = ~layer.has_high | (value <= layer.high)
        inside: Tensor = (above & below & value.isfinite()).all(-1)
        return inside

    def __repr__(self) -> str:
        return f"Within({self.layer.low.tolist()}, {self.layer.high.tolist()})"


@biject_to.register(_Within)  # type: ignore[untyped-decorator]
def _to_limits(constraint: Any) -> Limits:
    """Return the layer itself as the stock map from real vectors, used by automatic guides."""
    layer: Limits = constraint.layer
    return layer


def _exp(x: Tensor, where: Tensor) -> Tensor:
    """Return the exponential where it is used, and 1 elsewhere, where it may overflow."""
    return torch.where(where, x, 0.0).exp()
