"""The sinh-arcsinh formula: skewness, and lighter or heavier tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import check_number
from pyro_exact.transforms.elementwise import Elementwise, tanh_bounded
from pyro_exact.transforms.numerics import at_least_float32


class SinhArcsinh(Elementwise):
    r"""Skew each element, and change the weight of the tails.

    Use this formula when the tails of a normal distribution do not fit.

    .. math::
        y = \sinh(\delta\, \mathrm{arsinh}(x) + \epsilon), \qquad
        \log|\partial y/\partial x| = \log \frac{\delta \cosh(\delta\, \mathrm{arsinh}(x) +
        \epsilon)}{\cosh(\mathrm{arsinh}(x))}

    The tails grow like :math:`|x|^\delta`. The parameters are :math:`r_1, r_2` with :math:`\epsilon
    = m \tanh(r_1 / m)` and :math:`\log \delta = b \tanh(r_2 / b)`. Zero parameters give the
    identity.

    Args:
        bound: :math:`b`, the largest logarithm of the power of the tails, at most 1.
        max_skew: :math:`m`, the largest skewness parameter, at most 10.

    Cost:
        - forward: a few exponentials for each element.
        - inverse: closed form, the same.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 2).

    Raises:
        ValueError: If a bound is out of range.

    Reference:
        Jones and Pewsey (2009), Sinh-arcsinh distributions, equation 1.

    Example:
        >>> x = torch.tensor([-1e4, 0.0, 2.0])
        >>> torch.allclose(SinhArcsinh().forward_and_ladj(x, torch.zeros(3, 2))[0], x)
        True
    """

    num_params = 2

    def __init__(self, bound: float = 1.0, max_skew: float = 5.0) -> None:
        super().__init__()
        self.bound = check_number("SinhArcsinh", "bound", bound, 1e-6, 1)
        self.max_skew = check_number("SinhArcsinh", "max_skew", max_skew, 1e-6, 10)

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        skew, log_tail = self._parts(theta)
        s = arsinh(x)
        t = log_tail.exp() * s + skew

        return t.sinh(), log_tail + log_cosh(t) - log_cosh(s)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        skew, log_tail = self._parts(theta)
        t = arsinh(y)
        s = (t - skew) * (-log_tail).exp()

        return s.sinh(), log_cosh(s) - log_tail - log_cosh(t)

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        skew, log_tail = theta.unbind(-1)
        return tanh_bounded(skew, self.max_skew), tanh_bounded(log_tail, self.bound)

    def extra_repr(self) -> str:
        return f"bound={self.bound}, max_skew={self.max_skew}"


def arsinh(x: Tensor) -> Tensor:
    """Return the inverse of the hyperbolic sine, as exact for negative as for positive elements."""
    return torch.where(x < 0, -(-x).asinh(), x.asinh())


def log_cosh(x: Tensor) -> Tensor:
    """Return log cosh(x), for any size of x."""
    return x + F.softplus(-2 * x) - math.log(2)
