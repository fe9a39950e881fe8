"""The monotone linear-rational spline with linear tails, in closed form both ways."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.numerics import at_least_float32
from pyro_exact.transforms.spline import Spline, at_ends

LEAST_SHARE = 0.025  # of a bin on each side of the inner knot, as in Pyro


class LinearRationalSpline(Spline):
    r"""Bend the interval :math:`[-B, B]` by a monotone linear-rational spline.

    Outside of this interval it is the identity. Use it when the inverse must be cheap.

    Each bin has an inner knot at the share :math:`\lambda` of the width. On either side of the
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
    positive terms. The parameters are the same as for `Spline`, and ``bins`` shares, computed via a
    sigmoid. Zero parameters give the identity.

    See `Spline` for the arguments. Pyro's ``Spline(order="linear")`` is the same curve.

    Cost:
        - forward: :math:`O(K)` for each element, for :math:`K` bins.
        - inverse: closed form, a ratio of linear functions, :math:`O(K)` for each element.

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
        inside = x.abs() < self.bound
        knots = self._knots_and_shares(theta)

        within = x.clamp(-self.bound, self.bound)
        piece = Piece(within, *knots, inverse=False)
        y, ladj = piece.forward(within)

        y = torch.where(inside, y, x)
        ladj = torch.where(inside, ladj, 0.0)

        return y, ladj

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        inside = y.abs() < self.bound
        knots = self._knots_and_shares(theta)

        within = y.clamp(-self.bound, self.bound)
        piece = Piece(within, *knots, inverse=True)
        x, ladj = piece.invert(within)

        x = torch.where(inside, x, y)
        ladj = torch.where(inside, ladj, 0.0)

        return x, ladj

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        return super().saturation(x, theta[..., : 3 * self.bins - 1])

    def _knots_and_shares(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the knots, their images, the derivatives there, and the share of each bin."""
        counts = [3 * self.bins - 1, self.bins]
        rest, raw = theta.split(counts, dim=-1)

        xs, ys, derivatives = self._knots(rest)
        shares = LEAST_SHARE + (1 - 2 * LEAST_SHARE) * raw.sigmoid()

        return xs, ys, derivatives, shares


class Piece:
    """The half of a bin that holds each position, measured from the outer to the inner knot.

    Args:
        position: Elements within the interval, of ``x`` or, for the inverse, of ``y``.
        xs: Positions of the knots.
        ys: Images of the knots.
        derivatives: Slopes at the knots.
        shares: Share of the width of each bin on the left of the inner knot.
        inverse: If true, the positions are of ``y``.
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
        above = position.unsqueeze(-1) >= edges[..., 1:-1]
        index = above.sum(-1, keepdim=True)

        x0, x1 = at_ends(xs, index)
        y0, y1 = at_ends(ys, index)
        d0, d1 = at_ends(derivatives, index)
        share = shares.gather(-1, index).squeeze(-1)
        rest = 1 - share
        width = x1 - x0
        height = y1 - y0

        # The weights of both knots, w_0 = 1 and w_1 = sqrt(d_0 / d_1), times sqrt(d_1), so that
        # they stay in range.
        weight0 = d1.sqrt()
        weight1 = d0.sqrt()
        mixed = rest * weight0 + share * weight1

        # w_c = (lambda w_0 d_0 + (1 - lambda) w_1 d_1) / s
        slopes = share * weight0 * d0 + rest * weight1 * d1
        inner = slopes * (width / height)

        # The image of the inner knot lies this far from either end of the bin.
        rise0 = share * weight1 / mixed * height
        rise1 = rest * weight0 / mixed * height

        if inverse:
            left = position - y0 < rise0
        else:
            left = position - x0 < share * width

        self.left = left
        self.inner = inner
        self.width = width
        self.x_end = torch.where(left, x0, x1)
        self.y_end = torch.where(left, y0, y1)
        self.weight = torch.where(left, weight0, weight1)
        self.share = torch.where(left, share, rest)
        self.rise = torch.where(left, rise0, rise1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log-derivative."""
        xi = (x - self.x_end).abs() / self.width
        denominator = self._denominator(xi)

        # y = y_0 + w_c c xi / (w_0 (lambda - xi) + w_c xi)
        climb = self.inner * self.rise * xi / denominator
        signed = torch.where(self.left, climb, -climb)

        return self.y_end + signed, self._ladj(denominator)

    def invert(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and the log-derivative of the inverse."""
        climb = (y - self.y_end).abs()
        rest = (self.rise - climb).clamp(min=0)

        # xi = lambda w_0 (y - y_0) / (w_0 (y - y_0) + w_c (c - (y - y_0)))
        weighted = self.weight * climb
        xi = self.share * weighted / (weighted + self.inner * rest)

        walk = self.width * xi
        signed = torch.where(self.left, walk, -walk)
        ladj = self._ladj(self._denominator(xi))

        return self.x_end + signed, -ladj

    def _denominator(self, xi: Tensor) -> Tensor:
        # w_0 (lambda - xi) + w_c xi
        rest = (self.share - xi).clamp(min=0)
        return self.weight * rest + self.inner * xi

    def _ladj(self, denominator: Tensor) -> Tensor:
        # log w_0 w_c lambda (c / w) / denominator^2
        factors = (
            self.weight,
            self.inner,
            self.share,
            self.rise / self.width,
        )
        logarithms = torch.stack([factor.log() for factor in factors])
        return logarithms.sum(0) - 2 * denominator.log()
