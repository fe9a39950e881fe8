"""The inverse of a layer, as a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.parts import context_for


class Inverse(Bijection):
    r"""The inverse :math:`f^{-1}` of a bijection :math:`f`: what `Bijection.inv` returns.

    It shares parameters and memory with the original.

    Args:
        bijection: The original.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__(bijection.output, bijection.event, bijection.context_shape)
        self.bijection = bijection
        self.domain, self.codomain = bijection.codomain, bijection.domain
        self.training = bijection.training

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.invert(x, context)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.transform(y, context)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set what an inverse can set, and return the output.

        The inverse of a composition is that of its parts, from last to first; where a part is an inverse itself, its
        original is initialised.

        Raises:
            ValueError: If a layer with parameters that depend on data would be left as it is, because it goes the
                other way.
        """
        if isinstance(self.bijection, Conditioned):
            return self.bijection.bijection.inv.data_init(x, self.bijection.context.to(x.dtype))
        if isinstance(self.bijection, Compose):
            for part in reversed(self.bijection.parts):
                x = part.inv.data_init(x, context_for(part, context))
            return x

        output = self.transform(x, context)[0]
        if _depends_on_data(self.bijection, output, context):
            raise ValueError(
                f"initialize expects layers that go from data to noise; got {type(self.bijection).__name__} from noise "
                f"to data, which cannot be set from data. Build it as Flow(base, bijection.inv)."
            )
        return output

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

    def _call(self, x: Tensor) -> Tensor:
        return self.bijection._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijection._call(y)


def _depends_on_data(bijection: Bijection, x: Tensor, context: Tensor | None) -> bool:
    """Return whether an initialisation of a layer in its own direction would change a weight; change none."""
    weights = [*bijection.parameters(), *bijection.buffers()]
    before = [weight.detach().clone() for weight in weights]
    try:
        bijection.data_init(x, context)
        return any(not torch.equal(old, new) for old, new in zip(before, weights, strict=True))
    finally:
        with torch.no_grad():
            for old, new in zip(before, weights, strict=True):
                new.copy_(old)
