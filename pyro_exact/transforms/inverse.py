"""The inverse of a layer, as a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.memory import Record


class Inverse(Bijection):
    r"""The inverse :math:`f^{-1}` of a bijection :math:`f`. It is returned by `Bijection.inv`.

    This layer uses the parameters and the memory of the original.

    Args:
        bijection: The original.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__(bijection.output, bijection.event, bijection.context_shape)
        self.bijection = bijection
        self.domain = bijection.codomain
        self.codomain = bijection.domain
        self.training = bijection.training

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self.bijection.invert(x, context)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.transform(y, context)

    def forward_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.forward_shape(shape)

    @property
    def inv(self) -> Bijection:
        return self.bijection

    @property
    def sign(self) -> int:
        return self.bijection.sign

    def condition(self, context: Tensor) -> Bijection:
        return self if self.context_shape is None else self.bijection.condition(context).inv

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.bijection.log_abs_det_jacobian(y, x)

    def _evaluate(
        self,
        given: Tensor,
        direction: int,
        context: Tensor | None = None,
    ) -> Tensor:
        return self.bijection._evaluate(given, -direction, context)

    def _find(
        self,
        output: Tensor,
        direction: int,
        context: Tensor | None = None,
    ) -> Record | None:
        record = self.bijection._find(output, -direction, context)
        return None if record is None else record._replace(ladj=-record.ladj)

    def _check_shape(self, shape: torch.Size, direction: int) -> None:
        self.bijection._check_shape(shape, -direction)
