"""The Sylvester flow: a planar flow with several hidden units."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.householder import reflect
from pyro_exact.transforms.linear_lu import multiply
from pyro_exact.transforms.numerics import LARGEST_MATRIX
from pyro_exact.transforms.planar_solver import derivative, solve


class Sylvester(Bijection):
    r"""Move each point within a subspace, by a network with a hidden layer.

    Use this layer for guides. The Jacobian in the subspace is triangular.

    .. math::
        y = x + Q R \tanh(a), \qquad a = S Q^\top x + b, \qquad
        \log|\det \partial y/\partial x| = \sum_{i=1}^M
        \log\left(\tanh^2 a_i + (1 + R_{ii} S_{ii}) / \cosh^2 a_i\right)

    :math:`Q` has :math:`M` orthonormal columns; :math:`R, S` are upper triangular with diagonals in
    (-1, 1), so :math:`R_{ii} S_{ii} > -1` and the map is invertible. The variants differ in
    :math:`Q`:

    - ``"orthogonal"``: the Q factor of a free matrix, by QR with positive diagonal. It is
      orthogonal to rounding and smooth in the weights; the paper's iteration needs a start near
      orthogonality, and stops at a tolerance;
    - ``"householder"``: the first :math:`M` columns of a product of reflections;
    - ``"triangular"``: the first :math:`M` columns of the identity, or of the permutation that
      reverses a vector.

    The inverse is computed using back-substitution from the last row up, with a scalar equation for
    each row; see `pyro_exact.transforms.planar_solver`.

    Args:
        dim: Dimension :math:`D` of the vectors.
        rank: :math:`M`, the number of hidden units, at most ``dim``; `None` for ``dim``, as in the
            paper's Householder and triangular variants.
        variant: The type of :math:`Q` (default ``"orthogonal"``).
        context_dim: Size of an optional context vector, used to compute all parameters.
        reflections: Reflections of the Householder variant.
        reverse: If true, the triangular variant uses the reversing permutation (default false); the
            paper alternates.

    Cost:
        - forward: :math:`O(D M)`; the orthogonal variant has a QR decomposition, :math:`O(D M^2)`.
        - inverse: the same, and back-substitution of :math:`M` monotone scalar equations.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension, a rank out of range, or an unknown
            variant.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, theorem 2, equations 11-13 and sections 3.1-3.3.

    Example:
        >>> layer = Sylvester(4, rank=2)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        rank: int | None = None,
        variant: Literal["orthogonal", "householder", "triangular"] = "orthogonal",
        context_dim: int | None = None,
        reflections: int = 8,
        reverse: bool = False,
    ) -> None:
        dim = check_size("Sylvester", "dim", dim, most=LARGEST_MATRIX)
        rank = check_size("Sylvester", "rank", dim if rank is None else rank, most=dim)
        reflections = check_size("Sylvester", "reflections", reflections, most=LARGEST_COUNT)
        super().__init__((dim,), context_dim=context_dim)
        if variant not in ("orthogonal", "householder", "triangular"):
            raise ValueError(
                f"Sylvester expects variant 'orthogonal', 'householder' or 'triangular'; got "
                f"{variant!r}."
            )

        self.dim = dim
        self.rank = rank
        self.variant = variant
        self.reverse = reverse

        bound = dim**-0.5
        initial = {
            "r": torch.empty(rank, rank).uniform_(-bound, bound).triu(),
            "s": torch.empty(rank, rank).uniform_(-bound, bound).triu(),
            "b": torch.zeros(rank),
        }
        if variant == "orthogonal":
            initial["q"] = torch.randn(dim, rank) * bound
        elif variant == "householder":
            initial["q"] = torch.randn(reflections, dim) * bound

        self.theta = Parameters(initial, context_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            x, q, r, s, b, stretch = self._theta(x, context)

            # a = S Q^T x + b
            a = multiply(multiply(x, q), s.mT) + b
            tanh = a.tanh()

            # y = x + Q R tanh(a)
            step = multiply(multiply(tanh, r.mT), q.mT)
            slope = derivative(a, tanh, stretch)

            return x + step, slope.log().sum(-1)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with full_precision(y):
            y, q, r, s, b, stretch = self._theta(y, context)

            # Row i of v + R tanh(S v + b) = Q^T y has one unknown, v_i, once the rows below it are
            # known. Times S_ii, plus b_i and what S takes from the rows below, it is a_i + R_ii
            # S_ii tanh(a_i) = target. Column by column, v turns from Q^T y into Q^T x, and a from b
            # into S v + b.
            v, a = torch.broadcast_tensors(multiply(y, q), b)
            for i in reversed(range(self.rank)):
                scaled = s[..., i, i] * v[..., i]
                target = scaled + a[..., i]
                a_i = solve(stretch[..., i], target)

                tanh = a_i.tanh().unsqueeze(-1)
                v = v - r[..., i] * tanh
                v_i = v[..., i : i + 1]
                a = a + s[..., i] * v_i

            # x = y - Q R tanh(a)
            tanh = a.tanh()
            step = multiply(multiply(tanh, r.mT), q.mT)
            slope = derivative(a, tanh, stretch)

            return y - step, -slope.log().sum(-1)

    def _theta(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        """Return the input, Q, R, S, b and the stretches 1 + R_ii S_ii in float32 or better."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        raw_r, raw_s, b, *free = (p.to(dtype) for p in self.theta(context))
        r, p = _bounded_diagonal(raw_r)
        s, q = _bounded_diagonal(raw_s)

        # 1 + tanh(p) tanh(q) as a sum of positive terms, which never rounds to zero
        both = (2 * p).sigmoid() * (2 * q).sigmoid()
        neither = (-2 * p).sigmoid() * (-2 * q).sigmoid()
        stretch = 2 * (both + neither) + torch.finfo(dtype).tiny

        columns = self._columns(r, *free)

        return x.to(dtype), columns, r, s, b, stretch

    def _columns(self, r: Tensor, free: Tensor | None = None) -> Tensor:
        """Return Q of shape (*batch, dim, rank)."""
        if self.variant == "orthogonal":
            # The factor with a positive diagonal is unique, and smooth in the matrix.
            q, upper = torch.linalg.qr(free)
            diagonal = upper.diagonal(dim1=-2, dim2=-1)
            signs = torch.where(diagonal < 0, -1.0, 1.0).to(q.dtype)
            return q * signs.unsqueeze(-2)

        identity = torch.eye(
            self.rank,
            self.dim,
            dtype=r.dtype,
            device=r.device,
        )
        if free is not None:
            return reflect(identity, free.unsqueeze(-3)).mT

        return (identity.flip(-1) if self.reverse else identity).mT

    def extra_repr(self) -> str:
        reverse = ", reverse=True" if self.reverse else ""
        return f"{self.dim}, rank={self.rank}, variant={self.variant!r}{reverse}"


def _bounded_diagonal(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return an upper triangular matrix with the tanh of the diagonal, and the diagonal itself."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    bounded = matrix.triu(1) + torch.diag_embed(diagonal.tanh())
    return bounded, diagonal
