"""A fixed permutation of dimensions or channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.checks import check_sizes
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.parts import check_channels


class Permute(Bijection):
    r"""Reorder the dimensions of a vector, or the channels of an image.

    Use this layer between autoregressive layers or couplings. The log-determinant is zero.

    .. math:: y_i = x_{\mathrm{order}_i}

    Args:
        order: The permutation, a list of 0, ..., n - 1 in any order. ``range(n - 1, -1, -1)``
            reverses, ``torch.randperm(n)`` shuffles.
        event_dim: 1 for vectors, 3 for the channels of images (C, H, W).

    Cost:
        - forward: a copy.
        - inverse: a copy.

    Shape:
        - x, y: (\*batch, n), or (\*batch, n, H, W); ladj: (\*batch).

    Raises:
        ValueError: If ``order`` is not a permutation, or an event does not have n channels.

    Example:
        >>> Permute([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0]))
        tensor([12., 10., 11.])
    """

    order: Tensor
    back: Tensor

    def __init__(
        self,
        order: Sequence[int] | Tensor,
        event_dim: int = 1,
    ) -> None:
        places = check_sizes(
            "Permute",
            "order",
            order.tolist() if isinstance(order, Tensor) else order,
            least=0,
        )
        if sorted(places) != list(range(len(places))):
            raise ValueError(
                f"Permute expects each of 0, ..., n - 1 once; got {list(places)}. Use "
                f"torch.randperm(n)."
            )

        _, event_dim = check_channels(type(self).__name__, len(places), event_dim)
        super().__init__((len(places), *[None] * (event_dim - 1)))
        indices = torch.tensor(places)
        self.register_buffer("order", indices)
        self.register_buffer("back", indices.argsort())

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        axis = x.dim() - self.domain.event_dim
        return x.index_select(axis, self.order), x.new_zeros(x.shape[:axis])

    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        axis = y.dim() - self.domain.event_dim
        return y.index_select(axis, self.back), y.new_zeros(y.shape[:axis])

    def extra_repr(self) -> str:
        return f"{len(self.order)}, event_dim={self.domain.event_dim}"
