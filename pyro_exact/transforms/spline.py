"""The monotone rational-quadratic spline with linear tails."""

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
    r"""Bend the interval :math:`[-B, B]` by a monotone rational-quadratic spline.

    Outside of this interval it is the identity. Use this formula for flexible flows with a closed
    inverse; the data should be standardised, for example using `ActNorm`.

    In the bin between the knots :math:`(x_0, y_0)` and :math:`(x_1, y_1)`, of width :math:`w`,
    height :math:`h`, slope :math:`s = h / w` and derivatives :math:`d_0, d_1` at the knots, with
    :math:`\xi = (x - x_0) / w` and :math:`\eta = 1 - \xi`,

    .. math::
        y = y_0 + \frac{h\, \xi\, (s \xi + d_0 \eta)}{D}, \qquad
        \log|\partial y/\partial x| = \log \frac{s^2 (d_1 \xi^2 + 2 s \xi \eta + d_0 \eta^2)}{D^2},
        \qquad D = s\, (\xi^2 + \eta^2) + (d_0 + d_1)\, \xi \eta

    All of these are sums of positive terms, so nothing cancels. The inverse is in closed form. The
    ``bins`` widths and ``bins`` heights are computed via a softmax, and the ``bins - 1`` inner
    derivatives via a softplus. The outer derivatives are 1, so that the slope is continuous at
    :math:`\pm B`. Zero parameters give the identity. All of it is computed in float32 or better.

    Args:
        bins: Bins of the spline.
        bound: :math:`B`, in units of ``x``.
        min_width: Least width of a bin, as a fraction of the interval; at least 1e-6.
        min_height: Least height of a bin, as a fraction of the interval; at least 1e-6.
        min_derivative: Least derivative at an inner knot; at least 1e-6, and below 1.

    Cost:
        - forward: :math:`O(K)` for each element, for :math:`K` bins.
        - inverse: closed form, the root of a quadratic, :math:`O(K)` for each element.

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
        self.min_derivative = check_number(
            "Spline",
            "min_derivative",
            min_derivative,
            LEAST_FRACTION,
            1 - 1e-6,
        )
        _check_room(bins, "min_width", self.min_width)
        _check_room(bins, "min_height", self.min_height)

        self.num_params = 3 * bins - 1

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        inside = x.abs() < self.bound
        xs, ys, derivatives = self._knots(theta)

        within = x.clamp(-self.bound, self.bound)
        piece = Bin(xs, within, xs, ys, derivatives)
        xi, eta = piece.fractions(within)

        y = torch.where(inside, piece.forward(xi, eta), x)
        ladj = torch.where(inside, piece.ladj(xi, eta), 0.0)

        return y, ladj

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        inside = y.abs() < self.bound
        xs, ys, derivatives = self._knots(theta)

        within = y.clamp(-self.bound, self.bound)
        piece = Bin(ys, within, xs, ys, derivatives)
        xi, eta = piece.solve(within)

        x = torch.where(inside, piece.position(xi, eta), y)
        ladj = torch.where(inside, -piece.ladj(xi, eta), 0.0)

        return x, ladj

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        xs, ys, derivatives = self._knots(theta)
        limit = AT_LEAST * 2 * self.bound

        narrow = xs.diff(dim=-1) < limit * self.min_width
        flat = ys.diff(dim=-1) < limit * self.min_height
        level = derivatives < AT_LEAST * self.min_derivative

        return {
            OUTSIDE: x.abs() >= self.bound,
            LEAST_BIN: (narrow | flat).any(-1),
            LEAST_SLOPE: level.any(-1),
        }

    def _knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the positions, images and derivatives of the knots, each (*batch, bins + 1)."""
        counts = [self.bins, self.bins, self.bins - 1]
        widths, heights, raw = theta.split(counts, dim=-1)

        xs = self._cumulative(widths, self.min_width)
        ys = self._cumulative(heights, self.min_height)

        # softplus(raw + offset) is 1 - min_derivative at zero, so that the derivative is 1
        offset = log(expm1(1 - self.min_derivative))
        derivatives = self.min_derivative + F.softplus(raw + offset)
        derivatives = F.pad(derivatives, (1, 1), value=1.0)

        return xs, ys, derivatives

    def _cumulative(self, raw: Tensor, least: float) -> Tensor:
        """Return the positions of knots between bins of at least the fraction ``least``."""
        room = 1 - least * self.bins
        fractions = least + room * raw.softmax(-1)

        # The ends are exact: only the inner knots are sums.
        sums = fractions[..., :-1].cumsum(-1)
        inner = self.bound * (2 * sums - 1)
        knots = F.pad(inner, (1, 0), value=-self.bound)

        return F.pad(knots, (0, 1), value=self.bound)

    def extra_repr(self) -> str:
        return f"bins={self.bins}, bound={self.bound}"


class Bin:
    """The bin that holds each position, with the corresponding knots and derivatives.

    Args:
        edges: The knots between which the positions lie.
        position: Elements within the interval.
        xs: Positions of the knots.
        ys: Images of the knots.
        derivatives: Slopes at the knots.
    """

    def __init__(
        self,
        edges: Tensor,
        position: Tensor,
        xs: Tensor,
        ys: Tensor,
        derivatives: Tensor,
    ) -> None:
        above = position.unsqueeze(-1) >= edges[..., 1:-1]
        index = above.sum(-1, keepdim=True)

        self.x0, self.x1 = at_ends(xs, index)
        self.y0, self.y1 = at_ends(ys, index)
        self.d0, self.d1 = at_ends(derivatives, index)
        self.width = self.x1 - self.x0
        self.height = self.y1 - self.y0
        self.slope = self.height / self.width

    def fractions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\xi = (x - x_0) / w` and :math:`\eta = (x_1 - x) / w`."""
        xi = (x - self.x0) / self.width
        eta = (self.x1 - x) / self.width
        return xi, eta

    def position(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return x, from the nearer end of the bin."""
        from_left = self.x0 + self.width * xi
        from_right = self.x1 - self.width * eta
        return torch.where(xi < eta, from_left, from_right)

    def forward(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return y."""
        # y = y_0 + h xi (s xi + d_0 eta) / D
        quadratic = self.slope * xi + self.d0 * eta
        rise = self.height * xi * quadratic / self.denominator(xi, eta)
        return self.y0 + rise

    def denominator(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return D."""
        # D = s (xi^2 + eta^2) + (d_0 + d_1) xi eta
        squares = xi.square() + eta.square()
        slopes = self.d0 + self.d1
        return self.slope * squares + slopes * xi * eta

    def ladj(self, xi: Tensor, eta: Tensor) -> Tensor:
        """Return the log-derivative of the spline."""
        # log s^2 (d_1 xi^2 + 2 s xi eta + d_0 eta^2) / D^2
        s = self.slope
        from_right = self.d1 * xi.square()
        from_left = self.d0 * eta.square()
        numerator = from_right + 2 * s * xi * eta + from_left
        log_ratio = s.log() - self.denominator(xi, eta).log()
        return 2 * log_ratio + numerator.log()

    def solve(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\xi, \eta` of the point whose image is ``y``.

        At the fraction :math:`t = (y - y_0) / h` of the height, the equation is a quadratic in
        :math:`\xi`. Using :math:`e = d_0 (1 - t) - d_1 t`, the discriminant is :math:`e^2 + 4 s^2 t
        (1 - t)`, a sum of positive terms, and the root in [0, 1] is

        .. math:: \xi = \frac{2 s t}{e + 2 s t + \sqrt{e^2 + 4 s^2 t (1 - t)}}

        When :math:`e < 0`, the denominator would cancel. This is avoided by exchanging the two ends
        of the bin, which turns :math:`e` into :math:`-e` and gives :math:`\eta` by the same
        formula.
        """
        t = (y - self.y0) / self.height
        rest = (self.y1 - y) / self.height

        e = self.d0 * rest - self.d1 * t
        left = e >= 0
        near = torch.where(left, t, rest)
        size = torch.where(left, e, -e)

        # xi = 2 s t / (e + 2 s t + sqrt(e^2 + 4 s^2 t (1 - t)))
        s = self.slope
        discriminant = e.square() + 4 * s.square() * t * rest
        root = discriminant.sqrt()
        numerator = 2 * s * near
        fraction = numerator / (size + numerator + root)
        other = 1 - fraction

        xi = torch.where(left, fraction, other)
        eta = torch.where(left, other, fraction)

        return xi, eta


def at_ends(knots: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values at the left and the right knot of the bin with an index."""
    left = knots[..., :-1].gather(-1, index)
    right = knots[..., 1:].gather(-1, index)
    return left.squeeze(-1), right.squeeze(-1)


def _check_room(bins: int, name: str, least: float) -> None:
    """Check that the least size leaves room for all bins."""
    if not least * bins < 1:
        raise ValueError(
            f"Spline expects {name} below 1 / bins; got {least} with {bins} bins. "
            f"Lower it, or take fewer bins."
        )
