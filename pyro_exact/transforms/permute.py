"""A fixed permutation of dimensions or channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.transforms.act_norm import has_channels
from pyro_exact.transforms.bijection import Bijection


class Permute(Bijection):
    r"""Reorder the dimensions of a vector, or the channels of an image; the log-determinant is zero.

    .. math:: y_i = x_{\mathrm{order}_i}

    Args:
        order: The permutation, a list of 0, ..., n - 1 in any order. ``range(n - 1, -1, -1)`` reverses,
            ``torch.randperm(n)`` shuffles.
        event_dim: 1 for vectors, 3 for the channels of images (C, H, W).

    Cost:
        - forward: one copy.
        - inverse: one copy.

    Shape:
        - x, y: (\*batch, n), or (\*batch, n, H, W); ladj: (\*batch).

    Raises:
        ValueError: If ``order`` is no permutation, or an event does not have n channels.

    Example:
        >>> Permute([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0]))
        tensor([12., 10., 11.])
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int] | Tensor, event_dim: int = 1) -> None:
        indices = torch.as_tensor(order)
        if (
            indices.dim() != 1
            or indices.is_floating_point()
            or sorted(indices.tolist()) != list(range(indices.numel()))
        ):
            raise ValueError(f"Permute expects each of 0, ..., n - 1 once; got {indices.tolist()}.")
        super().__init__((len(indices), *[None] * (event_dim - 1)))
        has_channels(self, len(indices), event_dim)
        self.register_buffer("order", indices)
        self.register_buffer("back", indices.argsort())

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        axis = x.dim() - self.domain.event_dim
        return x.index_select(axis, self.order), x.new_zeros(x.shape[:axis])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        axis = y.dim() - self.domain.event_dim
        return y.index_select(axis, self.back), y.new_zeros(y.shape[:axis])

    def extra_repr(self) -> str:
        return f"{len(self.order)}, event_dim={self.domain.event_dim}"
