"""A shift and a scale for every element, both learned: the prior of the coarsest scale of Glow."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_size, check_sizes
from pyro_exact.nn.parameters import Parameters
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.numerics import limited

LARGEST_EVENT = 2**28  # elements, each of which has two parameters


class DiagonalAffine(Bijection):
    r"""Standardise every element using a learned mean and scale.

    Use this layer as the learned prior of the last scale of an image flow.

    .. math:: y = (x - m)\, e^{-s}, \qquad \log|\det \partial y/\partial x| = -\sum s

    Followed by N(0, 1) it is the prior :math:`N(m, e^{2 s})` that Glow uses for the last scale and,
    using a class as context, the class-conditional prior of Glow. There it varies over positions
    only via an edge effect; in this layer every element is free. The log-scale is cut at :math:`|s|
    = 64`, where the scale and the inverse are finite in float32.

    Args:
        shape: Shape of the event, for example (C, H, W).
        context_dim: Size of an optional context vector.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, \*shape); ladj: (\*batch).

    Raises:
        ValueError: If an event does not have this shape.

    Reference:
        Kingma and Dhariwal (2018), Glow, official code (`prior`, with `learntop` and `ycond`).

    Example:
        >>> DiagonalAffine((2, 1, 1))(torch.tensor([[[3.0]], [[4.0]]])).flatten()
        tensor([3., 4.], grad_fn=...)
    """

    def __init__(self, shape: Shape, context_dim: int | None = None) -> None:
        shape = check_sizes("DiagonalAffine", "shape", shape)
        check_size(
            "DiagonalAffine",
            "the number of elements",
            prod(shape),
            most=LARGEST_EVENT,
        )
        super().__init__(shape, context_dim=context_dim)
        self.shape = shape
        self.theta = Parameters(
            {
                "mean": torch.zeros(self.shape),
                "log_scale": torch.zeros(self.shape),
            },
            context_dim,
        )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._theta(context)
        y = (x - mean) * (-log_scale).exp()
        return y, -self._sum(x, log_scale)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_scale = self._theta(context)
        x = y * log_scale.exp() + mean
        return x, self._sum(y, log_scale)

    def _theta(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mean and the log-scale."""
        mean, log_scale = self.theta(context)
        return mean, limited(log_scale)

    def _sum(self, x: Tensor, log_scale: Tensor) -> Tensor:
        total = log_scale.sum(list(range(-len(self.shape), 0)))
        return total.expand(x.shape[: x.dim() - len(self.shape)])

    def extra_repr(self) -> str:
        return f"{self.shape}"
