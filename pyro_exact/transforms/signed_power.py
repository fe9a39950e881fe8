"""The signed power of for each element."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_number
from pyro_exact.transforms.elementwise import Elementwise, tanh_bounded
from pyro_exact.transforms.numerics import at_least_float32


class SignedPower(Elementwise):
    r"""Raise the size of each element to a power, and keep the sign. Use it to change the tails.

    .. math::
        y = \mathrm{sign}(x)\, |x|^{p}, \qquad
        \log|\partial y/\partial x| = \log p + (p - 1) \log |x|

    The parameter is :math:`r` with :math:`\log p = b \tanh(r / b)`. Zero gives the identity. At 0
    the slope is 0 or infinite, unless :math:`p = 1`; there the log-derivative is that of the
    smallest element of the precision.

    Args:
        bound: :math:`b`, the largest logarithm of the power, at most 1.

    Cost:
        - forward: a logarithm and an exponential for each element.
        - inverse: closed form, the same.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 1).

    Raises:
        ValueError: If the bound is out of range.

    Example:
        >>> root = torch.tensor([[0.5 ** 0.5 - 1e9]])  # at its lower bound the power is 1 / e
        >>> SignedPower().forward_and_ladj(torch.tensor([-1.0]), root)[0]
        tensor([-1.])
    """

    num_params = 1

    def __init__(self, bound: float = 1.0) -> None:
        super().__init__()
        self.bound = check_number("SignedPower", "bound", bound, 1e-6, 1)

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self._power(x, theta, 1)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self._power(y, theta, -1)

    def _power(self, x: Tensor, theta: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        log_power = tanh_bounded(theta.squeeze(-1), self.bound, sign)
        log_size = x.abs().clamp(min=torch.finfo(x.dtype).tiny).log()

        log_stretch = log_power.expm1() * log_size

        return x * log_stretch.exp(), log_power + log_stretch

    def extra_repr(self) -> str:
        return f"bound={self.bound}"
