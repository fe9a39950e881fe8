"""Increasing Bernstein polynomials on an interval, with linear or identity tails."""

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
    r"""Bend the interval :math:`[-B, B]` by an increasing Bernstein polynomial.

    Use it instead of a `Spline` when the density must be smooth.

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
        tails: The type of the tails outside of the interval.
        min_slope: Least difference of coefficients, as a fraction of the difference for the
            identity.

    Cost:
        - forward: :math:`O(M)` for each element.
        - inverse: guarded Newton steps are used, each :math:`O(M)` for each element; outside of the
          interval in closed form.

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
        """Return the first coefficient, and the differences of the coefficients, in units of x."""
        even = 2 * self.bound / self.degree  # the difference that all would have for the identity
        low = theta.new_tensor(-self.bound)

        if self.tails == "linear":
            low = low + theta[..., 0]

            # softplus(raw + offset) is 1 - min_slope at zero
            offset = math.log(math.expm1(1 - self.min_slope))
            raw = theta[..., 1:]
            inner = even * (self.min_slope + F.softplus(raw + offset))

            # The first two differences are equal, and the last two.
            first = inner[..., :1]
            last = inner[..., -1:]
            return low, torch.cat((first, inner, last), dim=-1)

        count = self.num_params
        least = self.min_slope / count
        fractions = least + (1 - self.min_slope) * theta.softmax(-1)
        differences = F.pad(even * count * fractions, (2, 2), value=even)

        return low.expand(theta.shape[:-1]), differences

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        low, differences = parts
        width = 2 * self.bound
        inner = x.clamp(-self.bound, self.bound)

        # t = (x + B) / (2 B), and 1 - t without cancellation
        left = (inner + self.bound) / width
        right = (self.bound - inner) / width

        # b_{k, M-1}(t), from which b_{k, M} = (1 - t) b_{k, M-1} + t b_{k-1, M-1}
        powers = torch.arange(self.degree, device=x.device, dtype=x.dtype)
        left_powers = left.unsqueeze(-1) ** powers
        right_powers = right.unsqueeze(-1) ** powers.flip(-1)
        basis = self.binomials.to(x) * left_powers * right_powers

        # dy/dx = M / (2 B) sum (c_{k+1} - c_k) b_{k, M-1}(t)
        slope = (differences * basis).sum(-1) * (self.degree / width)

        # y - c_0 = (1 - t) sum (c_k - c_0) b_{k, M-1} + t sum (c_{k+1} - c_0) b_{k, M-1}
        above = differences.cumsum(-1)
        below = above - differences
        rise_below = (below * basis).sum(-1)
        rise_above = (above * basis).sum(-1)
        rise = right * rise_below + left * rise_above

        # The tangents go on outside of the interval.
        tail = slope * (x - inner)

        return low + rise + tail, slope.log()

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        low, differences = parts
        high = low + differences.sum(-1)
        left = torch.full_like(y, -self.bound)
        right = torch.full_like(y, self.bound)

        # An open bracket in each tail, and the interval between the tails.
        lower = torch.where(y > high, right, left)
        lower = torch.where(y < low, -math.inf, lower)
        upper = torch.where(y < low, left, right)
        upper = torch.where(y > high, math.inf, upper)

        return lower, upper

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the root itself in the tails, and within the interval that of the chord."""
        least, differences = parts
        total = differences.sum(-1)
        slopes = (self.degree / (2 * self.bound)) * differences
        rise = y - least

        chord = self.bound * (2 * rise / total - 1)
        below = rise / slopes[..., 0] - self.bound
        above = (rise - total) / slopes[..., -1] + self.bound

        start = torch.where(high.isinf(), above, chord)
        start = torch.where(low.isinf(), below, start)

        return start.clamp(low, high)

    def extra_repr(self) -> str:
        return f"{self.degree}, bound={self.bound}, tails={self.tails!r}"
