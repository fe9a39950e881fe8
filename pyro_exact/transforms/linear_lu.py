"""An invertible linear map of vectors, learned as triangular factors."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_MATRIX


class LinearLU(Bijection):
    r"""Multiply a vector by an invertible matrix that starts as a random rotation, and shift it.

    Use this layer to mix the dimensions between couplings.

    .. math::
        y = P L (U + \mathrm{diag}(\sigma e^{s}))\, x + b, \qquad \log|\det \partial y/\partial x| =
        \sum_i s_i

    with a fixed permutation :math:`P`, fixed signs :math:`\sigma`, and triangular :math:`L, U`; the
    matrix can never become singular. The inverse is two triangular solves in float64. All of it is
    computed in float32 or better, also under autocast. `Conv1x1` is the same map for the channels
    of images.

    Args:
        dim: Dimension of the vectors.
        context_dim: Size of an optional context vector, used to compute the factors and the shift;
            a batch of contexts has a corresponding batch of matrices.

    Cost:
        - forward: :math:`O(D^2)`.
        - inverse: two triangular solves in float64, :math:`O(D^2)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions,
        equations 10-11; Oliva et al. (2018), Transformation Autoregressive Networks, section 3.2,
        for vectors.

    Example:
        >>> layer = LinearLU(4)
        >>> layer.log_abs_det_jacobian(x := torch.randn(5, 4), layer(x)).abs().max() < 1e-5
        tensor(True)
    """

    order: Tensor
    back: Tensor
    signs: Tensor

    def __init__(self, dim: int, context_dim: int | None = None) -> None:
        dim = check_size("LinearLU", "dim", dim, most=LARGEST_MATRIX)
        super().__init__((dim,), context_dim=context_dim)
        self.dim = dim

        noise = torch.randn(dim, dim, dtype=torch.float64)
        rotation, _ = torch.linalg.qr(noise)
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        dtype = torch.get_default_dtype()
        initial = {
            "lower": lower.tril(-1),
            "upper": upper.triu(1),
            "log_diagonal": diagonal.abs().log(),
            "shift": torch.zeros(dim),
        }
        self.theta = Parameters(
            {name: factor.to(dtype) for name, factor in initial.items()},
            context_dim,
        )
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("back", permutation.argmax(0))
        self.register_buffer("signs", diagonal.sign().to(dtype))

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            x, lower, upper, shift, log_det = self._theta(x, context)

            # y = P L U x + b
            y = multiply(x, upper.mT)
            y = multiply(y, lower.mT)
            y = y.index_select(-1, self.order) + shift

            return y, log_det.expand(y.shape[:-1])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with full_precision(y):
            y, lower, upper, shift, log_det = self._theta(y, context)

            # x = U^-1 L^-1 P^-1 (y - b)
            x = (y - shift).index_select(-1, self.back).double()
            x = _divide(x, lower.mT.double(), upper=True)
            x = _divide(x, upper.mT.double(), upper=False)

            return x.to(y.dtype), -log_det.expand(x.shape[:-1])

    def _theta(
        self, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the input, the factors, the shift and the log-determinant, at least in float32."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        lower, upper, log_diagonal, shift = (p.to(dtype) for p in self.theta(context))

        # L has a unit diagonal, and U the diagonal sigma e^s.
        identity = torch.eye(self.dim, dtype=dtype, device=x.device)
        diagonal = self.signs.to(dtype) * log_diagonal.exp()
        lower = lower.tril(-1) + identity
        upper = upper.triu(1) + torch.diag_embed(diagonal)

        return x.to(dtype), lower, upper, shift, log_diagonal.sum(-1)

    def extra_repr(self) -> str:
        return f"{self.dim}"


def multiply(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the row vectors x (*batch, n) times a matrix (n, m), or times a batch of matrices."""
    if matrix.dim() == 2:
        return x @ matrix

    return (x.unsqueeze(-2) @ matrix).squeeze(-2)


def _divide(x: Tensor, matrix: Tensor, upper: bool) -> Tensor:
    """Undo `multiply` by a triangular matrix, or by a batch of matrices."""
    single = matrix.dim() == 2
    rows = x.reshape(-1, x.shape[-1]) if single else x.unsqueeze(-2)
    rows = torch.linalg.solve_triangular(
        matrix,
        rows,
        upper=upper,
        left=False,
    )

    return rows.reshape(x.shape) if single else rows.squeeze(-2)
