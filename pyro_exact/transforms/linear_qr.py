"""An invertible linear map of vectors, learned as an orthogonal and a triangular factor."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.transforms.householder import reflect
from pyro_exact.transforms.linear_map import (
    LinearMap,
    Theta,
    check_dim,
    solve_triangular,
    times,
)


class LinearQR(LinearMap):
    r"""Multiply a vector by an orthogonal and a triangular matrix, and shift it.

    Use this layer to mix the dimensions between couplings.

    .. math::
        y = H_K \cdots H_1 R x + b, \qquad \log|\det \partial y/\partial x| = \sum_i s_i

    with reflections :math:`H_k` as in `Householder`, and an upper triangular :math:`R` with
    diagonal :math:`e^{s}`. The matrix can never become singular. The inverse is the reflections in
    reverse order and a triangular solve in float64.

    Args:
        dim: Dimension of the vectors.
        reflections: :math:`K`, the reflections; `None` for ``dim`` reflections, which reach
            every rotation or reflection.
        context_dim: Size of an optional context vector, used to compute the factors and the shift.

    Cost:
        - forward: :math:`O(D^2 + K D)`.
        - inverse: a triangular solve in float64, :math:`O(D^2 + K D)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Hoogeboom, van den Berg and Welling (2019), Emerging Convolutions for Generative Normalizing
        Flows, section 3.3.

    Example:
        >>> layer, x = LinearQR(4), torch.randn(5, 4)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        reflections: int | None = None,
        context_dim: int | None = None,
    ) -> None:
        dim = check_dim("LinearQR", dim)
        count = dim if reflections is None else reflections
        count = check_size("LinearQR", "reflections", count, most=LARGEST_COUNT)
        factors = {
            "v": torch.randn(count, dim) * dim**-0.5,
            "upper": torch.zeros(dim, dim),
            "log_diagonal": torch.zeros(dim),
        }
        super().__init__(dim, factors, context_dim)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        return reflect(times(x, self._triangular(theta)), theta[0])

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        unrotated = reflect(y, theta[0].flip(-2))
        triangular = self._triangular(theta)
        return solve_triangular(triangular, unrotated, upper=True)

    def log_det(self, theta: Theta) -> Tensor:
        return theta[2].sum(-1)

    @staticmethod
    def _triangular(theta: Theta) -> Tensor:
        _, upper, log_diagonal = theta
        return upper.triu(1) + torch.diag_embed(log_diagonal.exp())
