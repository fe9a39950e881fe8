"""From an image to a vector."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_sizes
from pyro_exact.transforms.bijection import Bijection, Shape


class Flatten(Bijection):
    r"""Read an event as a vector, in row-major order; the log-determinant is zero.

    .. math:: y_{(c H + h) W + w} = x_{c, h, w}

    Args:
        shape: Shape of the event, e.g. (C, H, W).

    Cost:
        - forward: a view.
        - inverse: a view.

    Shape:
        - x: (\*batch, \*shape); y: (\*batch, product of shape); ladj: (\*batch).

    Raises:
        ValueError: If the event has another shape.

    Example:
        >>> Flatten((3, 4, 4))(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """

    def __init__(self, shape: Shape) -> None:
        event = check_sizes("Flatten", "shape", shape)
        super().__init__(len(event), output_event_dim=1)
        self.shape = event

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.reshape(self.forward_shape(x.shape)), x.new_zeros(x.shape[: x.dim() - len(self.shape)])

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y.reshape(self.inverse_shape(y.shape)), y.new_zeros(y.shape[:-1])

    def forward_shape(self, shape: Shape) -> torch.Size:
        shape = super().forward_shape(shape)
        return torch.Size((*event_fits(self, shape, self.shape), prod(self.shape)))

    def inverse_shape(self, shape: Shape) -> torch.Size:
        shape = super().inverse_shape(shape)
        return torch.Size((*event_fits(self, shape, (prod(self.shape),)), *self.shape))

    def extra_repr(self) -> str:
        return f"{self.shape}"


def event_fits(layer: Bijection, shape: torch.Size, event: Shape) -> torch.Size:
    """Return the batch shape in front of an event of the expected shape, or say how it does not fit."""
    cut = len(shape) - len(event)
    if tuple(shape[cut:]) != tuple(event):
        raise ValueError(
            f"{type(layer).__name__} expects events of shape {tuple(event)}; got {tuple(shape)}. "
            f"Build the layer for that shape."
        )
    return shape[:cut]
