"""The monotone linear-rational spline with linear tails, in closed form both ways."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.numerics import at_least_float32
from pyro_exact.transforms.spline import Spline

LEAST_SHARE = 0.025  # of a bin on each side of the inner knot, as in Pyro


class LinearRationalSpline(Spline):
    r"""Bend the interval :math:`[-B, B]` by a monotone linear-rational spline; outside, change nothing.

    Each bin has an inner knot at the share :math:`\lambda` of its width. On either side of the
    knot the spline is a ratio of two linear functions. With :math:`\xi = (x - x_0) / w`, height
    :math:`h`, slope :math:`s = h / w`, the derivatives :math:`d_0, d_1` and the weights
    :math:`w_0 = 1, w_1 = \sqrt{d_0 / d_1}`, :math:`w_c = (\lambda w_0 d_0 + (1 - \lambda) w_1 d_1)
    / s`, on the left side

    .. math::
        y = y_0 + \frac{w_c\, c\, \xi}{w_0 (\lambda - \xi) + w_c\, \xi}, \qquad
        c = \frac{\lambda w_1 h}{(1 - \lambda) w_0 + \lambda w_1}, \qquad
        \log|\partial y/\partial x| = \log \frac{w_0 w_c \lambda c / w}{(w_0 (\lambda - \xi) + w_c\,
        \xi)^2}

    and on the right side the same with the two ends of the bin exchanged. All of these are sums of
    positive terms. The parameters are the same as for `Spline`, and ``bins`` shares before a sigmoid. Zero
    parameters give the identity.

    See `Spline` for the arguments. Pyro's ``Spline(order="linear")`` is the same curve.

    Cost:
        - forward: :math:`O(K)` an element, for :math:`K` bins.
        - inverse: closed form, a ratio of linear functions, :math:`O(K)` an element.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 4 bins - 1).

    Raises:
        ValueError: If the least sizes leave no room for the bins, or an argument is out of range.

    Reference:
        Dolatabadi, Erfani and Leckie (2020), Invertible Generative Modeling using Linear Rational
        Splines, section 3 and algorithm 1.

    Example:
        >>> formula, x = LinearRationalSpline(5), torch.tensor([-7.0, 0.0, 2.5])
        >>> y, ladj = formula.forward_and_ladj(x, torch.zeros(3, 19))
        >>> torch.allclose(y, x), ladj.abs().max() < 1e-5
        (True, tensor(True))
    """

    def __init__(
        self,
        bins: int = 8,
        bound: float = 3.0,
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
    ) -> None:
        super().__init__(bins, bound, min_width, min_height, min_derivative)
        self.num_params = 4 * self.bins - 1

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        within = x.clamp(-self.bound, self.bound)
        knots = self._knots_and_shares(theta)
        y, ladj = Piece(within, *knots, inverse=False).forward(within)

        inside = x.abs() < self.bound
        return torch.where(inside, y, x), torch.where(inside, ladj, 0.0)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        within = y.clamp(-self.bound, self.bound)
        knots = self._knots_and_shares(theta)
        x, ladj = Piece(within, *knots, inverse=True).invert(within)

        inside = y.abs() < self.bound
        return torch.where(inside, x, y), torch.where(inside, ladj, 0.0)

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        return super().saturation(x, theta[..., : 3 * self.bins - 1])

    def _knots_and_shares(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the knots, their images, the derivatives there, and the share of each bin."""
        rest, raw = theta.split([3 * self.bins - 1, self.bins], dim=-1)
        shares = LEAST_SHARE + (1 - 2 * LEAST_SHARE) * raw.sigmoid()
        return (*self._knots(rest), shares)


class Piece:
    """The half of a bin that holds each position, measured from its outer knot towards its inner knot.

    Args:
        position: Elements within the interval, of ``x`` or, for the inverse, of ``y``.
        xs: Positions of the knots.
        ys: Their images.
        derivatives: The slopes there.
        shares: The share of the width of each bin on the left of its inner knot.
        inverse: Whether the positions are of ``y``.
    """

    def __init__(
        self,
        position: Tensor,
        xs: Tensor,
        ys: Tensor,
        derivatives: Tensor,
        shares: Tensor,
        inverse: bool,
    ) -> None:
        edges = ys if inverse else xs
        index = (position.unsqueeze(-1) >= edges[..., 1:-1]).sum(-1, keepdim=True)
        (x0, x1), (y0, y1), (d0, d1) = (
            [side.gather(-1, index).squeeze(-1) for side in (knots[..., :-1], knots[..., 1:])]
            for knots in (xs, ys, derivatives)
        )
        share = shares.gather(-1, index).squeeze(-1)
        rest = 1 - share
        width = x1 - x0
        height = y1 - y0

        # The weights of both knots, divided by a common factor so that they stay in range.
        weight0 = d1.sqrt()
        weight1 = d0.sqrt()
        mixed = rest * weight0 + share * weight1
        slopes = share * weight0 * d0 + rest * weight1 * d1

        # The image of the inner knot lies this far from either end of the bin.
        rise0 = share * weight1 / mixed * height
        rise1 = rest * weight0 / mixed * height

        if inverse:
            left = position - y0 < rise0
        else:
            left = position - x0 < share * width
        self.left = left
        self.width = width
        self.inner = slopes * (width / height)
        self.x_end = torch.where(left, x0, x1)
        self.y_end = torch.where(left, y0, y1)
        self.weight = torch.where(left, weight0, weight1)
        self.share = torch.where(left, share, rest)
        self.rise = torch.where(left, rise0, rise1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log-derivative."""
        xi = (x - self.x_end).abs() / self.width
        denominator = self._denominator(xi)
        climb = self.inner * self.rise * xi / denominator
        return self.y_end + torch.where(self.left, climb, -climb), self._ladj(denominator)

    def invert(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and the log-derivative of the inverse."""
        climb = (y - self.y_end).abs()
        rest = (self.rise - climb).clamp(min=0)
        xi = self.share * self.weight * climb / (self.weight * climb + self.inner * rest)
        walk = self.width * xi
        return self.x_end + torch.where(self.left, walk, -walk), -self._ladj(self._denominator(xi))

    def _denominator(self, xi: Tensor) -> Tensor:
        return self.weight * (self.share - xi).clamp(min=0) + self.inner * xi

    def _ladj(self, denominator: Tensor) -> Tensor:
        factors = self.weight, self.inner, self.share, self.rise / self.width
        numerator = torch.stack([factor.log() for factor in factors]).sum(0)
        return numerator - 2 * denominator.log()
