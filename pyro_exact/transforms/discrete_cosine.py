"""The discrete cosine transform of vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.linear_map import check_dim


class DiscreteCosine(Bijection):
    r"""Take a vector, such as a time series, to frequencies.

    Use it for a flow or a guide of smooth series.

    .. math::
        y_k = \sqrt{\tfrac{2 - [k = 0]}{D}} \sum_{i=0}^{D-1} x_i \cos\big(\tfrac{\pi}{D} (i +
        \tfrac12) k\big), \qquad \log|\det \partial y/\partial x| = 0

    This is the orthonormal transform of type II, so standard normal noise stays standard normal. It
    corresponds to ``DiscreteCosineTransform`` of Pyro when ``smooth=0``.

    Args:
        dim: Dimension of the vectors, at most 8192.

    Cost:
        - forward: :math:`O(D^2)`, a product with a fixed matrix.
        - inverse: the transpose, :math:`O(D^2)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Ahmed, Natarajan and Rao (1974), Discrete Cosine Transform.

    Example:
        >>> DiscreteCosine(4)(torch.ones(4)).round(decimals=4).abs()
        tensor([2., 0., 0., 0.])
    """

    matrix: Tensor

    def __init__(self, dim: int) -> None:
        dim = check_dim("DiscreteCosine", dim)
        super().__init__((dim,))

        order = torch.arange(dim, dtype=torch.float64)
        angle = math.pi / dim * order[:, None] * (order + 0.5)
        matrix = angle.cos() * (2 / dim) ** 0.5
        matrix[0] *= 0.5**0.5

        # In float64, whatever the dtype of the input: as parameters it would decide that.
        self.register_buffer("matrix", matrix, persistent=False)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        y = self._product(x, self.matrix.mT)
        return y, x.new_zeros(x.shape[:-1])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self._product(y, self.matrix)
        return x, y.new_zeros(y.shape[:-1])

    @staticmethod
    def _product(x: Tensor, matrix: Tensor) -> Tensor:
        with full_precision(x):
            return x @ matrix.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.event[0]}"
