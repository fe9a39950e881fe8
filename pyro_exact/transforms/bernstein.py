"""Increasing Bernstein polynomials on an interval, with linear tails or with the identity outside."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import check_number, check_size
from pyro_exact.transforms.monotone import Monotone, Parts

LARGEST_DEGREE = 64  # in float32 larger binomial coefficients overflow beside smaller powers
LARGEST_BOUND = 1e12


class Bernstein(Monotone):
    r"""Bend the interval :math:`[-B, B]` by an increasing Bernstein polynomial: a smooth `Spline`.

    .. math::
        y = \sum_{k=0}^{M} c_k\, b_{k, M}(t), \qquad
        \log|\partial y/\partial x| = \log \frac{M}{2 B} \sum_{k=0}^{M-1} (c_{k+1} - c_k)\,
        b_{k, M-1}(t), \qquad
        b_{k, M}(t) = \binom{M}{k}\, t^k (1 - t)^{M - k}, \qquad t = \frac{x + B}{2 B}

    The coefficients increase, so the slope is a sum of positive terms. The first two differences
    of coefficients are equal, and the last two: the second derivative vanishes at :math:`\pm B`,
    where the polynomial goes on along the tangents.

    - ``"linear"``: the tangents have any slope. The parameters are a shift, and the logarithms of
      the differences, softly bounded.
    - ``"identity"``: the polynomial maps :math:`[-B, B]` to itself, and the tangents are
      :math:`y = x`. The parameters are the inner differences, before a softmax.

    Zero parameters give the identity.

    Args:
        degree: :math:`M`, the degree of the polynomial, from 5 to 64.
        bound: :math:`B`, in units of ``x``.
        tails: The form outside of the interval.
        min_slope: Least difference of coefficients, as a fraction of that of the identity.

    Cost:
        - forward: :math:`O(M)` an element.
        - inverse: guarded Newton steps, each :math:`O(M)` an element; outside of the interval in
          closed form.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, num_params) with ``degree - 1`` parameters
          for linear tails, and ``degree - 4`` for the identity.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Sick, Hothorn and Dürr (2021), Deep transformation models, equation 4; Arpogaus et al.
        (2023), Short-Term Density Forecasting of Low-Voltage Load using Bernstein-Polynomial
        Normalizing Flows, section 3.

    Example:
        >>> formula = Bernstein(8)
        >>> y, ladj = formula.forward_and_ladj(torch.tensor([-7.0, 0.5]), torch.zeros(2, 7))
        >>> y, ladj.abs() < 1e-6
        (tensor([-7.0000,  0.5000]), tensor([True, True]))
    """

    binomials: Tensor

    def __init__(
        self,
        degree: int = 16,
        bound: float = 5.0,
        tails: Literal["linear", "identity"] = "linear",
        min_slope: float = 1e-3,
    ) -> None:
        super().__init__()
        if tails not in ("linear", "identity"):
            raise ValueError(f"Bernstein expects tails 'linear' or 'identity'; got {tails!r}.")

        self.degree = degree = check_size("Bernstein", "degree", degree, 5, LARGEST_DEGREE)
        self.bound = check_number("Bernstein", "bound", bound, 1e-6, LARGEST_BOUND)
        self.tails = tails
        self.min_slope = check_number("Bernstein", "min_slope", min_slope, 1e-6, 0.5)

        self.num_params = degree - 1 if tails == "linear" else degree - 4
        binomials = [float(math.comb(degree - 1, k)) for k in range(degree)]
        self.register_buffer("binomials", torch.tensor(binomials), persistent=False)

    def unpack(self, theta: Tensor) -> Parts:
        """Return the first coefficient, and the differences of the coefficients, both in units of x."""
        even = 2 * self.bound / self.degree  # the difference that all would have for the identity
        low = theta.new_tensor(-self.bound)

        if self.tails == "linear":
            low = low + theta[..., 0]
            # softplus(raw + offset) is 1 - min_slope at zero
            offset = math.log(math.expm1(1 - self.min_slope))
            inner = even * (self.min_slope + F.softplus(theta[..., 1:] + offset))
            return low, torch.cat((inner[..., :1], inner, inner[..., -1:]), dim=-1)

        count = self.num_params
        fractions = self.min_slope / count + (1 - self.min_slope) * theta.softmax(-1)
        inner = F.pad(even * count * fractions, (2, 2), value=even)
        return low.expand(theta.shape[:-1]), inner

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        low, differences = parts
        width = 2 * self.bound
        inner = x.clamp(-self.bound, self.bound)
        left = (inner + self.bound) / width
        right = (self.bound - inner) / width

        # b_{k, M-1}(t), from which b_{k, M} = (1 - t) b_{k, M-1} + t b_{k-1, M-1}
        powers = torch.arange(self.degree, device=x.device, dtype=x.dtype)
        basis = self.binomials.to(x) * left.unsqueeze(-1) ** powers
        basis = basis * right.unsqueeze(-1) ** powers.flip(-1)

        slope = self.degree / width * (differences * basis).sum(-1)

        above = differences.cumsum(-1)
        below = above - differences
        from_below = right * (below * basis).sum(-1)
        from_above = left * (above * basis).sum(-1)
        rise = from_below + from_above
        return low + rise + slope * (x - inner), slope.log()

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        low, differences = parts
        high = low + differences.sum(-1)
        left = torch.full_like(y, -self.bound)
        right = -left

        lower = torch.where(y > high, right, left)
        upper = torch.where(y < low, left, right)
        return lower.where(y >= low, -math.inf), upper.where(y <= high, math.inf)

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the root itself in the tails, and within the interval that of the chord."""
        least, differences = parts
        total = differences.sum(-1)
        slopes = self.degree / (2 * self.bound) * differences
        rise = y - least

        chord = self.bound * (2 * rise / total - 1)
        below = -self.bound + rise / slopes[..., 0]
        above = self.bound + (rise - total) / slopes[..., -1]

        start = chord.where(high.isfinite(), above)
        start = start.where(low.isfinite(), below)
        return start.clamp(low, high)

    def extra_repr(self) -> str:
        return f"{self.degree}, bound={self.bound}, tails={self.tails!r}"
