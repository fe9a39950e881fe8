"""An invertible linear map of vectors, learned as a singular value decomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.transforms.householder import reflect
from pyro_exact.transforms.linear_map import LinearMap, Theta, check_dim


class LinearSVD(LinearMap):
    r"""Rotate a vector, scale the dimensions, rotate it again, and shift it.

    Use this layer when the singular values must be known.

    .. math::
        y = U\, \mathrm{diag}(e^{s})\, V x + b, \qquad \log|\det \partial y/\partial x| = \sum_i
        s_i

    :math:`U` and :math:`V` are products of reflections as in `Householder`. The inverse has the
    same cost as forward, without a solve, and the singular values :math:`e^{s}` are explicit.

    Args:
        dim: Dimension of the vectors.
        reflections: Reflections in each orthogonal matrix; `None` for ``dim`` reflections.
        context_dim: Size of an optional context vector, used to compute the factors and the shift.

    Cost:
        - forward: :math:`O(K D)` for :math:`K` reflections.
        - inverse: closed form, the same.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Zhang, Lei and Dhillon (2018), Stabilizing Gradients for Deep Neural Networks via Efficient
        SVD Parameterization, section 3.

    Example:
        >>> layer, x = LinearSVD(4), torch.randn(5, 4)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        reflections: int | None = None,
        context_dim: int | None = None,
    ) -> None:
        dim = check_dim("LinearSVD", dim)
        count = dim if reflections is None else reflections
        count = check_size("LinearSVD", "reflections", count, most=LARGEST_COUNT)
        factors = {
            "left": torch.randn(count, dim) * dim**-0.5,
            "right": torch.randn(count, dim) * dim**-0.5,
            "log_singular_values": torch.zeros(dim),
        }
        super().__init__(dim, factors, context_dim)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        left, right, log_values = theta
        scaled = reflect(x, right) * log_values.exp()
        return reflect(scaled, left)

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        left, right, log_values = theta
        unrotated = reflect(y, left.flip(-2))
        scaled = unrotated * (-log_values).exp()
        return reflect(scaled, right.flip(-2))

    def log_det(self, theta: Theta) -> Tensor:
        return theta[2].sum(-1)
