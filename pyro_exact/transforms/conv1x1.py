"""The invertible 1x1 convolution: a learned linear map across channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_MATRIX


class Conv1x1(Bijection):
    r"""Multiply the channel vector at every position by an invertible matrix.

    Use it to mix the channels between couplings.

    .. math::
        y_{:, i, j} = W x_{:, i, j}, \qquad
        \log|\det \partial y/\partial x| = H W \log|\det W|

    The parameter is :math:`W` itself or, when factorised, :math:`W = P L (U + \mathrm{diag}(\sigma
    e^{s}))` with a fixed permutation :math:`P`, fixed signs :math:`\sigma`, and triangular
    :math:`L, U`: then :math:`\log|\det W| = \sum_c s_c`, and :math:`W` can never become singular.

    All of it is computed in float32 or better, also under autocast: in bfloat16 the rounding of
    :math:`W` alone would change the log-determinant.

    Args:
        channels: Channels of the image.
        context_dim: Size of an optional context vector, used to compute the matrix; a batch of
            contexts has a corresponding batch of matrices.
        factorized: If true (default), learn the PLU factors instead of the matrix.
        rotated: If true (default), the matrix starts as a random rotation; otherwise near the
            identity, at :math:`I + 0.001\, N(0, 1)`, as in Flow++.

    Cost:
        - forward: :math:`O(C^2 H W)`, and :math:`O(C^3)` for the matrix.
        - inverse: the same, using the inverse of :math:`W`, computed in float64.

    Shape:
        - x, y: (\*batch, channels, H, W); ladj: (\*batch).

    Raises:
        ValueError: If an input does not have this many channels, or there are none.

    Reference:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions, section
        3.2, equations 9-10.

    Example:
        >>> layer = Conv1x1(12)
        >>> layer.log_abs_det_jacobian(x := torch.randn(5, 12, 4, 4), layer(x)).abs().max() < 1e-3
        tensor(True)
    """

    permutation: Tensor
    signs: Tensor

    def __init__(
        self,
        channels: int,
        context_dim: int | None = None,
        factorized: bool = True,
        rotated: bool = True,
    ) -> None:
        channels = check_size("Conv1x1", "channels", channels, most=LARGEST_MATRIX)
        super().__init__((channels, None, None), context_dim=context_dim)
        self.channels = channels
        self.factorized = factorized
        dtype = torch.get_default_dtype()

        noise = torch.randn(channels, channels, dtype=torch.float64)
        if rotated:
            matrix, _ = torch.linalg.qr(noise)
        else:
            matrix = torch.eye(channels, dtype=noise.dtype) + 0.001 * noise

        if factorized:
            permutation, lower, upper = torch.linalg.lu(matrix)
            diagonal = upper.diagonal()
            initial = {
                "lower": lower.tril(-1),
                "upper": upper.triu(1),
                "log_diagonal": diagonal.abs().log(),
            }
            self.register_buffer("permutation", permutation.to(dtype))
            self.register_buffer("signs", diagonal.sign().to(dtype))
        else:
            initial = {"weight": matrix}

        self.theta = Parameters(
            {name: value.to(dtype) for name, value in initial.items()},
            context_dim,
        )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            theta = self._theta(x, context)
            if self.factorized:
                lower, upper = self._triangular(theta)
                weight = self.permutation.to(lower) @ lower @ upper
            else:
                (weight,) = theta

            return _multiply(weight, x), self._ladj(x, theta)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with full_precision(y):
            theta = self._theta(y, context)
            if self.factorized:
                lower, upper = (factor.double() for factor in self._triangular(theta))

                # W^-1 = U^-1 L^-1 P^T
                rows = self.permutation.mT.to(lower).expand(lower.shape)
                inner = torch.linalg.solve_triangular(
                    lower,
                    rows,
                    upper=False,
                    unitriangular=True,
                )
                inverse = torch.linalg.solve_triangular(upper, inner, upper=True)
            else:
                inverse = torch.linalg.inv(theta[0].double())

            x = _multiply(inverse.to(theta[0].dtype), y)
            return x, -self._ladj(y, theta)

    def _theta(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return tuple(p.to(dtype) for p in self.theta(context))

    def _triangular(self, theta: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        lower, upper, log_diagonal = theta
        identity = torch.eye(self.channels, dtype=lower.dtype, device=lower.device)
        diagonal = self.signs.to(lower) * log_diagonal.exp()

        # L has a unit diagonal, and U the diagonal sigma e^s.
        lower = lower.tril(-1) + identity
        upper = upper.triu(1) + torch.diag_embed(diagonal)

        return lower, upper

    def _ladj(self, x: Tensor, theta: tuple[Tensor, ...]) -> Tensor:
        if self.factorized:
            log_det = theta[-1].sum(-1)
        else:
            _, log_det = torch.linalg.slogdet(theta[0])

        height, width = x.shape[-2:]
        return (height * width * log_det).expand(x.shape[:-3])

    def extra_repr(self) -> str:
        return f"{self.channels}, factorized={self.factorized}"


def _multiply(weight: Tensor, x: Tensor) -> Tensor:
    """Apply a matrix (C, C), or a batch (*batch, C, C), to the channels of x (*batch, C, H, W)."""
    x = x.to(weight.dtype)
    if weight.dim() > 2:
        return (weight @ x.flatten(-2)).unflatten(-1, x.shape[-2:])

    return F.linear(x.movedim(-3, -1), weight).movedim(-1, -3)
