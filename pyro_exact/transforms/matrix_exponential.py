"""The exponential of a matrix, and of a skew matrix, as linear maps that are never singular."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.linear_map import LinearMap, Theta, check_dim, times


class MatrixExponential(LinearMap):
    r"""Multiply a vector by the exponential of a matrix, which is invertible for any parameters.

    Use this layer to mix the dimensions without constraints on the parameters.

    .. math:: y = e^{M} x, \qquad \log|\det \partial y/\partial x| = \mathrm{tr}\, M

    The inverse is :math:`e^{-M}`. Both exponentials are computed in float64, to rounding. The
    condition grows like :math:`e^{2 \|M\|}`.

    Args:
        dim: Dimension of the vectors.
        context_dim: Size of an optional context vector, used to compute :math:`M`.

    Cost:
        - forward: :math:`O(D^2)`, and :math:`O(D^3)` for the matrix.
        - inverse: the same.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Hoogeboom, Garcia Satorras, Tomczak and Welling (2020), The Convolution Exponential and
        Generalized Sylvester Flows, section 3.

    Example:
        >>> layer = MatrixExponential(3)
        >>> x = torch.randn(5, 3)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(self, dim: int, context_dim: int | None = None) -> None:
        dim = check_dim("MatrixExponential", dim)
        bound = dim**-0.5
        matrix = torch.empty(dim, dim).uniform_(-bound, bound)
        super().__init__(dim, {"matrix": matrix}, context_dim, shift=False)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        return times(x, exponential(theta[0]))

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        return times(y, exponential(-theta[0]))

    def log_det(self, theta: Theta) -> Tensor:
        return theta[0].diagonal(dim1=-2, dim2=-1).sum(-1)


class Rotation(LinearMap):
    r"""Rotate a vector by the exponential of a skew matrix.

    Use this layer to mix dimensions without a change of volume.

    .. math:: y = e^{A - A^\top} x, \qquad \log|\det \partial y/\partial x| = 0

    Every rotation is such an exponential. `Householder` reaches reflections as well, and is cheaper
    with few reflections.

    Args:
        dim: Dimension of the vectors.
        context_dim: Size of an optional context vector, used to compute :math:`A`.

    Cost:
        - forward: :math:`O(D^2)`, and :math:`O(D^3)` for the matrix.
        - inverse: the transpose, the same.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Golinski, Lezcano-Casado and Rainforth (2019), Improving Normalizing Flows via Better
        Orthogonal Parameterizations, section 3.

    Example:
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(Rotation(4)(x).norm(dim=-1), x.norm(dim=-1))
        True
    """

    def __init__(self, dim: int, context_dim: int | None = None) -> None:
        dim = check_dim("Rotation", dim)
        super().__init__(dim, {"a": torch.randn(dim, dim)}, context_dim, shift=False)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        return times(x, self._matrix(theta))

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        return times(y, self._matrix(theta).mT)

    def log_det(self, theta: Theta) -> Tensor:
        return theta[0].new_zeros(theta[0].shape[:-2])

    @staticmethod
    def _matrix(theta: Theta) -> Tensor:
        (a,) = theta
        return exponential(a - a.mT)


def exponential(matrix: Tensor) -> Tensor:
    """Return the exponential of a matrix, computed in float64."""
    return torch.linalg.matrix_exp(matrix.double()).to(matrix.dtype)
