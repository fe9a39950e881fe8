"""The additive formula of NICE: it preserves volume."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.numerics import at_least_float32


class Additive(Elementwise):
    r"""Shift each element. Use it in volume-preserving couplings.

    .. math:: y = x + t, \qquad \log|\partial y/\partial x| = 0

    This formula has a single parameter :math:`t`; at zero it is the identity.

    Cost:
        - forward: one addition for each element.
        - inverse: closed form, the same.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 1).

    Reference:
        Dinh, Krueger and Bengio (2015), NICE: Non-linear Independent Components Estimation,
        equations 6-7.

    Example:
        >>> y, ladj = Additive().forward_and_ladj(torch.ones(3), torch.full((3, 1), 0.5))
        >>> y, ladj
        (tensor([1.5000, 1.5000, 1.5000]), tensor([0., 0., 0.]))
    """

    num_params = 1

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        return x + theta.squeeze(-1), x.new_zeros(x.shape)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        return y - theta.squeeze(-1), y.new_zeros(y.shape)
