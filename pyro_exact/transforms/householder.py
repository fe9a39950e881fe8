"""Householder reflections: a learned rotation of vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.transforms.bijection import Bijection


class Householder(Bijection):
    r"""Multiply a vector by a learned orthogonal matrix, a product of reflections.

    Use this layer to mix the dimensions between other layers. The log-determinant is zero.

    .. math:: y = H_K \cdots H_1 x, \qquad H_k = I - 2\, v_k v_k^\top / \|v_k\|^2

    Using ``dim`` reflections, the layer can reach every orthogonal matrix with the corresponding
    sign of the determinant. A vector :math:`v_k` of zeros reflects nothing.

    Args:
        dim: Dimension of the vectors.
        reflections: :math:`K`, the reflections; `None` for ``dim`` reflections.
        context_dim: Size of an optional context vector, used to compute the reflections.

    Cost:
        - forward: :math:`O(K D)`.
        - inverse: the same reflections in reverse order, :math:`O(K D)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Tomczak and Welling (2016), Improving Variational Auto-Encoders using Householder Flow,
        equations 9-11.

    Example:
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(Householder(4, reflections=2)(x).norm(dim=-1), x.norm(dim=-1))
        True
    """

    def __init__(
        self,
        dim: int,
        reflections: int | None = None,
        context_dim: int | None = None,
    ) -> None:
        dim = check_size("Householder", "dim", dim)
        count = dim if reflections is None else reflections
        reflections = check_size("Householder", "reflections", count, most=LARGEST_COUNT)
        super().__init__((dim,), context_dim=context_dim)
        self.dim = dim

        initial = {"v": torch.randn(reflections, dim) * dim**-0.5}
        self.theta = Parameters(initial, context_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        (v,) = self.theta(context)
        y = reflect(x, v)
        return y, y.new_zeros(y.shape[:-1])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (v,) = self.theta(context)
        x = reflect(y, v.flip(-2))
        return x, x.new_zeros(x.shape[:-1])

    def extra_repr(self) -> str:
        return f"{self.dim}"


def reflect(x: Tensor, vectors: Tensor) -> Tensor:
    """Reflect x (*batch, dim) at the hyperplanes orthogonal to vectors (*batch, K, dim)."""
    tiny = torch.finfo(vectors.dtype).tiny
    norm2 = (vectors * vectors).sum(-1, keepdim=True) + tiny
    scaled = 2 * vectors / norm2

    reflections = zip(
        vectors.unbind(-2),
        scaled.unbind(-2),
        strict=True,
    )
    for v, scaled_v in reflections:
        # x - 2 v (v.x) / |v|^2
        product = (x * v).sum(-1, keepdim=True)
        x = x - scaled_v * product

    return x
