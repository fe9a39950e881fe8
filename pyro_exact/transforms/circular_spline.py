"""The rational-quadratic spline of a circle, followed by a rotation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.transforms.numerics import at_least_float32
from pyro_exact.transforms.spline import Bin, Spline


class CircularSpline(Spline):
    r"""Bend a circle by a monotone rational-quadratic spline, and rotate it. Use it for angles.

    .. math::
        y = \mathrm{wrap}(f(x) + \varphi), \qquad
        \log|\partial y/\partial x| = \log f'(x), \qquad
        \mathrm{wrap}(u) = (u + B) \bmod 2 B - B

    :math:`f` is the curve of `Spline` on :math:`[-B, B]`, whose slopes at the two ends are a single
    parameter, because both ends are the same point of the circle. The parameters are ``bins``
    widths and ``bins`` heights, computed via a softmax, ``bins`` derivatives, computed via a
    softplus, the first for the ends, and the angle :math:`\varphi`. Zero parameters give the
    identity.

    An ``x`` outside of :math:`[-B, B)` counts as a point on the circle, so the formula is a
    bijection of :math:`[-B, B)`, and not of the real line. The base should be uniform on this
    interval, for example `pyro_exact.distributions.Uniform`. A conditioner sees a cut in the
    circle, unless it takes the sines and cosines of angles.

    See `Spline` for the arguments; the default of ``bound`` is :math:`\pi`.

    Cost:
        - forward: :math:`O(K)` for each element, for :math:`K` bins.
        - inverse: closed form, the root of a quadratic, :math:`O(K)` for each element.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 3 bins + 1).

    Raises:
        ValueError: If the least sizes leave no room for the bins, or an argument is out of range.

    Reference:
        Rezende, Papamakarios et al. (2020), Normalizing Flows on Tori and Spheres, section 2.1.3.

    Example:
        >>> formula = CircularSpline(4)
        >>> quarter_turn = torch.tensor([0.0] * 12 + [torch.pi / 2])
        >>> formula.forward_and_ladj(torch.tensor([3.0]), quarter_turn.expand(1, 13))[0]
        tensor([-1.7124])
    """

    def __init__(
        self,
        bins: int = 8,
        bound: float = math.pi,
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
    ) -> None:
        super().__init__(bins, bound, min_width, min_height, min_derivative)
        self.num_params = 3 * self.bins + 1

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        xs, ys, derivatives = self._knots(theta[..., :-1])

        angle = theta[..., -1]

        within = self.wrap(x)
        piece = Bin(xs, within, xs, ys, derivatives)
        xi, eta = piece.fractions(within)
        y = piece.forward(xi, eta)

        # y = wrap(f(x) + phi)
        return self.wrap(y + angle), piece.ladj(xi, eta)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        xs, ys, derivatives = self._knots(theta[..., :-1])

        angle = theta[..., -1]

        # x = wrap(f^-1(y - phi))
        within = self.wrap(y - angle)
        piece = Bin(ys, within, xs, ys, derivatives)
        xi, eta = piece.solve(within)
        x = piece.position(xi, eta)

        return self.wrap(x), -piece.ladj(xi, eta)

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        return super().saturation(self.wrap(x), theta[..., :-1])

    def wrap(self, x: Tensor) -> Tensor:
        r"""Return the point in :math:`[-B, B)` that is ``x`` on the circle."""
        length = 2 * self.bound
        turns = ((x + self.bound) / length).detach().floor()

        # In the last place of x the count of turns may be wrong by 1.
        wrapped = x - length * turns
        return wrapped.clamp(-self.bound, self.bound)

    def _knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the positions, images and derivatives of the knots, periodic at the ends."""
        widths, heights, raw = theta.split([self.bins] * 3, dim=-1)

        # softplus(raw + offset) is 1 - min_derivative at zero, so that the derivative is 1
        offset = math.log(math.expm1(1 - self.min_derivative))
        derivatives = self.min_derivative + F.softplus(raw + offset)
        derivatives = torch.cat((derivatives, derivatives[..., :1]), dim=-1)

        xs = self._cumulative(widths, self.min_width)
        ys = self._cumulative(heights, self.min_height)

        return xs, ys, derivatives
