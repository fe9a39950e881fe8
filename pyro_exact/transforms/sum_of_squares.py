"""The sum-of-squares polynomial: the integral of a sum of squared polynomials."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_number, check_size
from pyro_exact.transforms.monotone import Monotone, Parts
from pyro_exact.transforms.monotone_network import gauss_legendre

LARGEST_BOUND = 1e12
LARGEST_DEGREE = 32
MOST_POLYNOMIALS = 1024


class SumOfSquares(Monotone):
    r"""Integrate a sum of squared polynomials over an element.

    Use this formula for a polynomial that increases everywhere.

    .. math::
        y = \beta + \int_0^x g(u)\, du, \qquad
        \log|\partial y/\partial x| = \log g(x), \qquad
        g(u) = \epsilon + \frac{1 - \epsilon}{K} \sum_{k=1}^{K}
        \Big(1 + \sum_{j=0}^{L} a_{kj}\, (u / B)^j\Big)^2

    A Gauss-Legendre quadrature with :math:`L + 1` nodes is exact for this polynomial, and adds
    positive terms only. Outside of :math:`[-B, B]` the integrand is constant, so that the tails are
    linear. The parameters are :math:`\beta` and the :math:`a_{kj}`, less constants that spread the
    :math:`a_{k1}` evenly over :math:`\pm 0.1`: equal polynomials would always have equal gradients.
    So zero parameters give the identity to within 0.4 %.

    Args:
        polynomials: :math:`K`, the squared polynomials.
        degree: :math:`L`, the degree of a squared polynomial; the whole has degree :math:`2 L + 1`
            within the interval.
        bound: :math:`B`, in units of ``x``.
        min_slope: :math:`\epsilon`, the least slope.

    Cost:
        - forward: :math:`O(K L^2)` for each element.
        - inverse: guarded Newton steps are used, each of the same cost.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 1 + polynomials (degree + 1)).

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Jaini, Selby and Yu (2019), Sum-of-Squares Polynomial Flow, equation 8.

    Example:
        >>> formula, x = SumOfSquares(2, 3), torch.tensor([-2.0, 0.0, 30.0])
        >>> theta = torch.randn(3, 9)
        >>> y, ladj = formula.forward_and_ladj(x, theta)
        >>> torch.allclose(formula.inverse_and_ladj(y, theta)[0], x, atol=1e-4)
        True
    """

    offsets: Tensor

    def __init__(
        self,
        polynomials: int = 4,
        degree: int = 4,
        bound: float = 5.0,
        min_slope: float = 1e-3,
    ) -> None:
        super().__init__()
        name = "SumOfSquares"
        self.polynomials = check_size(name, "polynomials", polynomials, most=MOST_POLYNOMIALS)
        self.degree = check_size(name, "degree", degree, most=LARGEST_DEGREE)
        self.bound = check_number(name, "bound", bound, 1e-6, LARGEST_BOUND)
        self.min_slope = check_number(name, "min_slope", min_slope, 1e-6, 0.5)
        self.quadrature = gauss_legendre(self.degree + 1)
        self.num_params = 1 + self.polynomials * (self.degree + 1)

        offsets = torch.zeros(self.polynomials, self.degree + 1)
        offsets[:, 0] = 1
        if self.polynomials > 1:
            offsets[:, 1] = torch.linspace(-0.1, 0.1, self.polynomials)

        self.register_buffer("offsets", offsets, persistent=False)

    def unpack(self, theta: Tensor) -> Parts:
        r"""Return :math:`\beta`, and all coefficients of the polynomials, highest power last."""
        shift = theta[..., 0]
        sizes = (self.polynomials, self.degree + 1)
        coefficients = theta[..., 1:].unflatten(-1, sizes)
        return shift, coefficients + self.offsets.to(theta)

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        shift, coefficients = parts
        inner = x.clamp(-self.bound, self.bound)
        nodes, weights = (x.new_tensor(values) for values in self.quadrature)

        # A last node at x itself, where the value of the integrand is the slope.
        places = torch.cat((nodes, nodes.new_ones(1)))
        scaled = (inner / self.bound).unsqueeze(-1)
        g = self._integrand(scaled * places, coefficients)
        slope = g[..., -1]

        # The integral from 0 to x is x times the weighted mean of g.
        terms = weights * g[..., :-1]
        area = inner * terms.sum(-1)
        tail = slope * (x - inner)

        return shift + area + tail, slope.log()

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds that the least slope allows."""
        far = 2 * (y - parts[0]) / self.min_slope
        return far.clamp(max=0), far.clamp(min=0)

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the root that the identity would have."""
        return (y - parts[0]).clamp(low, high)

    def _integrand(self, u: Tensor, coefficients: Tensor) -> Tensor:
        r"""Return g at places (\*shape of x, n), using Horner's rule."""
        u = u.unsqueeze(-2)
        *lower, value = coefficients.unsqueeze(-2).unbind(-1)
        for coefficient in reversed(lower):
            value = value * u + coefficient

        # g = epsilon + (1 - epsilon) / K sum of squares
        mean = value.square().mean(-2)
        return self.min_slope + (1 - self.min_slope) * mean

    def extra_repr(self) -> str:
        return f"{self.polynomials}, {self.degree}, bound={self.bound}"
