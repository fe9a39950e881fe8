"""From an image to a vector."""

from __future__ import annotations

from math import prod

from torch import Tensor

from pyro_exact.checks import check_sizes
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape


class Flatten(Bijection):
    r"""Read an event as a vector, in row-major order. The log-determinant is zero.

    Use this layer at the end of an image flow.

    .. math:: y_{(c H + h) W + w} = x_{c, h, w}

    Args:
        shape: Shape of the event, for example (C, H, W).

    Cost:
        - forward: a view.
        - inverse: a view.

    Shape:
        - x: (\*batch, \*shape); y: (\*batch, product of shape); ladj: (\*batch).

    Raises:
        ValueError: If an event does not have this shape.

    Example:
        >>> Flatten((3, 4, 4))(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """

    def __init__(self, shape: Shape) -> None:
        sizes = check_sizes("Flatten", "shape", shape)
        super().__init__(sizes, (prod(sizes),))
        self.shape = sizes

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch = x.shape[: x.dim() - len(self.event)]
        return x.reshape(*batch, *self.output), x.new_zeros(batch)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch = y.shape[:-1]
        return y.reshape(*batch, *self.event), y.new_zeros(batch)

    def extra_repr(self) -> str:
        return f"{self.shape}"
