"""The monotone rational-quadratic spline with linear tails, and its inverse without cancellation."""

from __future__ import annotations

from math import expm1, log

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.numerics import at_least_float32

LEAST_FRACTION = 1e-6  # of the interval: in float32 a narrower bin may have no width at all
LARGEST_BOUND = 1e12
AT_LEAST = 2.0  # a bin or a slope below this multiple of the least one is at its limit

OUTSIDE = "input outside of the interval"
LEAST_BIN = "spline with a bin of the least size"
LEAST_SLOPE = "spline with the least slope"


class Spline(Elementwise):
    r"""Bend the interval :math:`[-B, B]` by a monotone rational-quadratic spline; outside, change nothing.

    In the bin between the knots :math:`(x_0, y_0)` and :math:`(x_1, y_1)`, of width :math:`w`,
    height :math:`h`, slope :math:`s = h / w` and derivatives :math:`d_0, d_1` at its knots, with
    :math:`\xi = (x - x_0) / w` and :math:`\eta = 1 - \xi`,

    .. math::
        y = y_0 + \frac{h\, \xi\, (s \xi + d_0 \eta)}{D}, \qquad
        \log|\partial y/\partial x| = \log \frac{s^2 (d_1 \xi^2 + 2 s \xi \eta + d_0 \eta^2)}{D^2},
        \qquad D = s\, (\xi^2 + \eta^2) + (d_0 + d_1)\, \xi \eta

    All of these are sums of positive terms, so nothing cancels. The inverse is in closed form. The
    parameters are the ``bins`` widths and ``bins`` heights, before a softmax, and the ``bins - 1``
    inner derivatives, before a softplus. The outer derivatives are 1, so that the slope is
    continuous at :math:`\pm B`. Zero parameters give the identity. All of it is computed in float32
    or better.

    Args:
        bins: Number of bins.
        bound: :math:`B`, in units of ``x``.
        min_width: Least width of a bin, as a fraction of the interval; at least 1e-6.
        min_height: Least height of a bin, as a fraction of the interval; at least 1e-6.
        min_derivative: Least derivative at an inner knot; at least 1e-6, and below 1.

    Cost:
        - forward: :math:`O(K)` a number, for :math:`K` bins.
        - inverse: closed form, the root of a quadratic, :math:`O(K)` a number.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 3 bins - 1).

    Raises:
        ValueError: If the least sizes leave no room for the bins, or an argument is out of range.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, equations 4-5 and 6-8.

    Example:
        >>> y, ladj = Spline().forward_and_ladj(torch.tensor([-7.0, 0.0, 3.0]), torch.zeros(3, 23))
        >>> y, ladj.abs() < 1e-6
        (tensor([-7.,  0.,  3.]), tensor([True, True, True]))
    """

    def __init__(
        self,
        bins: int = 8,
        bound: float = 3.0,
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
    ) -> None:
        super().__init__()
        self.bins = bins = check_size("Spline", "bins", bins, most=LARGEST_COUNT)
        self.bound = check_number("Spline", "bound", bound, 1 / LARGEST_BOUND, LARGEST_BOUND)
        self.min_width = check_number("Spline", "min_width", min_width, LEAST_FRACTION, 1)
        self.min_height = check_number("Spline", "min_height", min_height, LEAST_FRACTION, 1)
        for name, least in (
            ("min_width", self.min_width),
            ("min_height", self.min_height),
        ):
            if not least * bins < 1:
                raise ValueError(
                    f"Spline expects {name} below 1 / bins; got {least} with {bins} bins. Lower it, or take fewer bins."
                )

        self.min_derivative = check_number(
            "Spline", "min_derivative", min_derivative, LEAST_FRACTION, 1 - 1e-6
        )
        self.num_params = 3 * bins - 1

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        inside = x.abs() < self.bound
        xs, ys, derivatives = self._knots(theta)
        within = x.clamp(-self.bound, self.bound)
        bin = Bin(xs, within, xs, ys, derivatives)
        xi = (within - bin.x0) / bin.width
        eta = (bin.x1 - within) / bin.width
        y = bin.y0 + bin.height * xi * (bin.slope * xi + bin.d0 * eta) / bin.denominator(xi, eta)

        return torch.where(inside, y, x), torch.where(inside, bin.ladj(xi, eta), 0.0)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        inside = y.abs() < self.bound
        xs, ys, derivatives = self._knots(theta)
        within = y.clamp(-self.bound, self.bound)
        bin = Bin(ys, within, xs, ys, derivatives)
        xi, eta = bin.solve((within - bin.y0) / bin.height, (bin.y1 - within) / bin.height)
        x = torch.where(xi < eta, bin.x0 + bin.width * xi, bin.x1 - bin.width * eta)

        return torch.where(inside, x, y), torch.where(inside, -bin.ladj(xi, eta), 0.0)

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        xs, ys, derivatives = self._knots(theta)
        narrow = xs.diff(dim=-1) < AT_LEAST * 2 * self.bound * self.min_width
        flat = ys.diff(dim=-1) < AT_LEAST * 2 * self.bound * self.min_height
        level = derivatives < AT_LEAST * self.min_derivative

        return {
            OUTSIDE: x.abs() >= self.bound,
            LEAST_BIN: (narrow | flat).any(-1),
            LEAST_SLOPE: level.any(-1),
        }

    def _knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the positions of the knots, their images, and the derivatives there, each (*batch, bins + 1)."""
        widths, heights, raw = theta.split([self.bins, self.bins, self.bins - 1], dim=-1)

        # softplus(raw + this) is 1 - min_derivative at zero, so that the derivative is 1
        offset = log(expm1(1 - self.min_derivative))
        derivatives = F.pad(self.min_derivative + F.softplus(raw + offset), (1, 1), value=1.0)

        return (
            self._cumulative(widths, self.min_width),
            self._cumulative(heights, self.min_height),
            derivatives,
        )

    def _cumulative(self, raw: Tensor, least: float) -> Tensor:
        fractions = least + (1 - least * self.bins) * raw.softmax(-1)
        inner = self.bound * (2 * fractions[..., :-1].cumsum(-1) - 1)
        return F.pad(F.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)

    def extra_repr(self) -> str:
        return f"bins={self.bins}, bound={self.bound}"


class Bin:
    """The bin between ``edges`` that holds each position: what ``xs``, ``ys`` and ``derivatives`` have at its knots."""

    def __init__(
        self,
        edges: Tensor,
        position: Tensor,
        xs: Tensor,
        ys: Tensor,
        derivatives: Tensor,
    ) -> None:
        index = (position.unsqueeze(-1) >= edges[..., 1:-1]).sum(-1, keepdim=True)
        (self.x0, self.x1), (self.y0, self.y1), (self.d0, self.d1) = (
            [side.gather(-1, index).squeeze(-1) for side in (knots[..., :-1], knots[..., 1:])]
            for knots in (xs, ys, derivatives)
        )
        self.width = self.x1 - self.x0
        self.height = self.y1 - self.y0
        self.slope = self.height / self.width

    def denominator(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return D."""
        return self.slope * (xi.square() + eta.square()) + (self.d0 + self.d1) * xi * eta

    def ladj(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return the log-derivative of the spline."""
        s = self.slope
        numerator = self.d1 * xi.square() + 2 * s * xi * eta + self.d0 * eta.square()
        return 2 * (s.log() - self.denominator(xi, eta).log()) + numerator.log()

    def solve(self, t: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\xi, \eta` at the fraction :math:`t` of the bin's height, with ``rest`` :math:`= 1 - t`.

        The equation is a quadratic in :math:`\xi`. With :math:`e = d_0 (1 - t) - d_1 t` its
        discriminant is :math:`e^2 + 4 s^2 t (1 - t)`, a sum of positive terms, and its root in [0,
        1] is

        .. math:: \xi = \frac{2 s t}{e + 2 s t + \sqrt{e^2 + 4 s^2 t (1 - t)}}

        For :math:`e < 0` the denominator would cancel; but exchanging the two ends of the bin turns
        :math:`e` into :math:`-e` and gives :math:`\eta` by the same formula.
        """
        e = self.d0 * rest - self.d1 * t
        left = e >= 0
        near = torch.where(left, t, rest)
        s = self.slope
        root = (e.square() + 4 * s.square() * t * rest).sqrt()
        fraction = 2 * s * near / (torch.where(left, e, -e) + 2 * s * near + root)

        return torch.where(left, fraction, 1 - fraction), torch.where(left, 1 - fraction, fraction)
