"""A triangular affine map of vectors, using a Cholesky factor."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.linear_map import (
    LinearMap,
    Theta,
    check_dim,
    solve_triangular,
    times,
)


class LinearTriangular(LinearMap):
    r"""Multiply a vector by a triangular matrix with a positive diagonal, and shift it.

    Use it from standard normal noise for a normal distribution with any covariance: the matrix is
    the Cholesky factor.

    .. math::
        y = L x + b, \qquad \log|\det \partial y/\partial x| = \sum_i s_i, \qquad
        L_{ii} = e^{s_i}

    It starts as the identity.

    Args:
        dim: Dimension of the vectors.
        upper: If true, the matrix is upper instead of lower triangular.
        context_dim: Size of an optional context vector, used to compute the matrix and the shift.

    Cost:
        - forward: :math:`O(D^2)`.
        - inverse: a triangular solve in float64, :math:`O(D^2)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Example:
        >>> layer = LinearTriangular(3)
        >>> layer(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2., 3.], grad_fn=<CloneBackward0>)
    """

    def __init__(
        self,
        dim: int,
        upper: bool = False,
        context_dim: int | None = None,
    ) -> None:
        dim = check_dim("LinearTriangular", dim)
        self.upper = bool(upper)
        factors = {
            "triangle": torch.zeros(dim, dim),
            "log_diagonal": torch.zeros(dim),
        }
        super().__init__(dim, factors, context_dim)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        return times(x, self._matrix(theta))

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        return solve_triangular(self._matrix(theta), y, self.upper)

    def log_det(self, theta: Theta) -> Tensor:
        return theta[1].sum(-1)

    def _matrix(self, theta: Theta) -> Tensor:
        triangle, log_diagonal = theta
        strict = triangle.triu(1) if self.upper else triangle.tril(-1)
        return strict + torch.diag_embed(log_diagonal.exp())

    def extra_repr(self) -> str:
        return f"{self.dim}, upper={self.upper}"
