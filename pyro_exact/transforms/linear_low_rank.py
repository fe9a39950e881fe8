"""A diagonal plus a low-rank matrix: a linear map of long vectors at linear cost."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_elements, check_size
from pyro_exact.transforms.linear_map import LinearMap, Theta, times


class LinearLowRank(LinearMap):
    r"""Multiply a vector by a matrix that is diagonal up to a low rank, and shift it.

    Use this layer for long vectors.

    .. math::
        y = e^{s} \odot (x + W W^\top x) + b, \qquad
        \log|\det \partial y/\partial x| = \sum_i s_i + \log \det (I_r + W^\top W)

    :math:`I + W W^\top` is positive definite, so the matrix can never become singular. The inverse
    is :math:`I - W (I_r + W^\top W)^{-1} W^\top`, which needs the Cholesky factor of an
    :math:`r \times r` matrix only; it is computed in float64.

    Args:
        dim: Dimension of the vectors.
        rank: :math:`r`, the rank.
        context_dim: Size of an optional context vector, used to compute the factors and the shift.

    Cost:
        - forward: :math:`O(r D)`, and :math:`O(r^2 D)` for the log-determinant.
        - inverse: the same.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension, or a rank that is larger than the
            dimension.

    Reference:
        Woodbury (1950), Inverting modified matrices, and Sylvester's determinant identity.

    Example:
        >>> layer, x = LinearLowRank(100, 2), torch.randn(5, 100)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(self, dim: int, rank: int = 1, context_dim: int | None = None) -> None:
        dim = check_size("LinearLowRank", "dim", dim)
        self.rank = check_size("LinearLowRank", "rank", rank, most=dim)
        check_elements("LinearLowRank", dim, rank)
        factors = {
            "w": torch.randn(dim, rank) * dim**-0.5,
            "log_diagonal": torch.zeros(dim),
        }
        super().__init__(dim, factors, context_dim)

    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        w, log_diagonal = theta
        # e^s * (x + W W' x)
        product = times(times(x, w.mT), w)
        return log_diagonal.exp() * (x + product)

    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        w, log_diagonal = (part.double() for part in theta)
        scaled = y.double() * (-log_diagonal).exp()

        # (I + W W')^-1 = I - W (I + W' W)^-1 W'
        inner = times(scaled, w.mT).unsqueeze(-1)
        solved = torch.cholesky_solve(inner, self._cholesky(w)).squeeze(-1)

        return (scaled - times(solved, w)).to(y.dtype)

    def log_det(self, theta: Theta) -> Tensor:
        w, log_diagonal = theta
        factor = self._cholesky(w.double()).diagonal(dim1=-2, dim2=-1)
        log_det = 2 * factor.log().sum(-1)
        return log_diagonal.sum(-1) + log_det.to(w.dtype)

    @staticmethod
    def _cholesky(w: Tensor) -> Tensor:
        """Return the Cholesky factor of I + W' W."""
        identity = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
        return torch.linalg.cholesky(identity + w.mT @ w)

    def extra_repr(self) -> str:
        return f"{self.dim}, rank={self.rank}"
