"""The base class of invertible linear maps of vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from pyro_exact.checks import check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_MATRIX

Theta = tuple[Tensor, ...]


class LinearMap(Bijection):
    r"""Base class of the layers :math:`y = A x + b`, whose matrix has factors that are parameters.

    A layer must name the factors with initial values, and implement `multiply`, `divide` and
    `log_det`. All of it is computed in float32 or better, also under autocast: in bfloat16 the
    rounding of the matrix alone would change the density.

    Args:
        dim: Dimension of the vectors.
        factors: Name and initial value of each factor.
        context_dim: Size of an optional context vector, used to compute the factors and the shift;
            a batch of contexts has a corresponding batch of matrices.
        shift: If true (default), there is a shift, which starts at zero.
    """

    def __init__(
        self,
        dim: int,
        factors: Mapping[str, Tensor],
        context_dim: int | None = None,
        shift: bool = True,
    ) -> None:
        super().__init__((dim,), context_dim=context_dim)
        self.dim = dim
        self.has_shift = shift
        initial = {**factors, "shift": torch.zeros(dim)} if shift else dict(factors)
        dtype = torch.get_default_dtype()
        initial = {name: value.to(dtype) for name, value in initial.items()}
        self.theta = Parameters(initial, context_dim)

    @abstractmethod
    def multiply(self, x: Tensor, theta: Theta) -> Tensor:
        r"""Return :math:`A x` for rows x (\*batch, dim)."""

    @abstractmethod
    def divide(self, y: Tensor, theta: Theta) -> Tensor:
        r"""Return :math:`A^{-1} y` for rows y (\*batch, dim)."""

    @abstractmethod
    def log_det(self, theta: Theta) -> Tensor:
        r"""Return :math:`\log|\det A|`, without the batch, or with that of the context."""

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            x, theta, shift = self._theta(x, context)
            y = self.multiply(x, theta) + shift
            return y, self.log_det(theta).expand(y.shape[:-1])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with full_precision(y):
            y, theta, shift = self._theta(y, context)
            x = self.divide(y - shift, theta)
            return x, -self.log_det(theta).expand(x.shape[:-1])

    def _theta(
        self,
        x: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Theta, Tensor | float]:
        """Return the input, the factors and the shift, in float32 or better."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        theta = tuple(part.to(dtype) for part in self.theta(context))
        if self.has_shift:
            return x.to(dtype), theta[:-1], theta[-1]

        return x.to(dtype), theta, 0.0

    def extra_repr(self) -> str:
        return f"{self.dim}"


def check_dim(owner: str, dim: int) -> int:
    """Return the dimension of the vectors of a layer with a square matrix."""
    return check_size(owner, "dim", dim, most=LARGEST_MATRIX)


def times(x: Tensor, matrix: Tensor) -> Tensor:
    r"""Multiply vectors x (\*batch, n) by a matrix (m, n), or by a batch of matrices."""
    if matrix.dim() == 2:
        return x @ matrix.mT

    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def solve_triangular(matrix: Tensor, y: Tensor, upper: bool) -> Tensor:
    r"""Undo `times` by a triangular matrix, in float64.

    A float32 solve would lose digits that the product kept.
    """
    a = matrix.double()
    b = y.double()
    if matrix.dim() == 2:
        rows = b.reshape(-1, y.shape[-1])
        x = torch.linalg.solve_triangular(a.mT, rows, upper=not upper, left=False)
        return x.reshape(y.shape).to(y.dtype)

    x = torch.linalg.solve_triangular(a, b.unsqueeze(-1), upper=upper)

    return x.squeeze(-1).to(y.dtype)
