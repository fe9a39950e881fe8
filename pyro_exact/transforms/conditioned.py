"""A conditional layer with a bound context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Event, Shape, context_batch_shape
from pyro_exact.transforms.memory import FORWARD, Memory, Weights


class Conditioned(Bijection):
    """A conditional bijection with a bound context. It is returned by `Bijection.condition`.

    The batch shape of the context is part of the shapes of this layer. So a stock
    `TransformedDistribution` expands the base to this batch, and equal contexts get different
    noise.

    Args:
        bijection: A layer that takes a context.
        context: Of shape (*batch, *context_shape).

    Raises:
        TypeError: If the context is not a tensor of a real type.
        ValueError: If the context does not have the shape required by the layer, or the batch shape
            does not broadcast with that of the input.
    """

    context: Tensor

    def __init__(self, bijection: Bijection, context: Tensor) -> None:
        super().__init__(bijection.event, bijection.output)
        self.bijection = bijection
        self.domain = bijection.domain
        self.codomain = bijection.codomain
        self.context_batch = context_batch_shape(bijection, context)
        self.register_buffer("context", context, persistent=False)
        self.training = bijection.training
        self._memory = Memory(_Weights(bijection._memory.weights))

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = self._expanded(x, self.event)
        return self.bijection.transform(x, self.context.to(x.dtype))

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self._expanded(y, self.output)
        return self.bijection.invert(y, self.context.to(y.dtype))

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = self._expanded(x, self.event)
        return self.bijection.data_init(x, self.context.to(x.dtype))

    @property
    def inv(self) -> Bijection:
        from pyro_exact.transforms.inverse import Inverse

        # A new one: in a cycle with it, the graph of the context would outlive its step.
        return Inverse(self)

    @property
    def sign(self) -> int:
        return self.bijection.sign

    def forward_shape(self, shape: Shape) -> torch.Size:
        return self._broadcast(self.bijection.forward_shape(shape), len(self.output))

    def inverse_shape(self, shape: Shape) -> torch.Size:
        return self._broadcast(self.bijection.inverse_shape(shape), len(self.event))

    def _checked(
        self, x: Tensor, context: Tensor | None, direction: int
    ) -> tuple[Tensor, Tensor | None]:
        x, context = super()._checked(x, context, direction)
        event = self.event if direction == FORWARD else self.output
        return self._expanded(x, event), context

    def _check_shape(self, shape: torch.Size, direction: int) -> None:
        self.bijection._check_shape(shape, direction)

    def _expanded(self, x: Tensor, event: Event) -> Tensor:
        """Return an input with the batch dimensions of the context.

        This is required because a container that holds this layer does not expand the input.
        """
        shape = self._broadcast(x.shape, len(event))
        return x if x.shape == shape else x.expand(shape)

    def _broadcast(self, shape: Shape, event_dim: int) -> torch.Size:
        """Return a shape with the batch dimensions of the context."""
        cut = len(shape) - event_dim
        if tuple(shape[:cut]) == self.context_batch:
            return torch.Size(shape)

        try:
            batch = torch.broadcast_shapes(shape[:cut], self.context_batch)
        except RuntimeError:
            raise ValueError(
                f"{type(self.bijection).__name__} expects batch shapes of input and context that "
                f"broadcast; got "
                f"{tuple(shape[:cut])} and {tuple(self.context_batch)}. Pass a context for each "
                f"input, or one for all."
            ) from None

        return torch.Size((*batch, *shape[cut:]))


class _Weights(Weights):
    """The weights of a conditional layer, and the context that is bound to it.

    This uses the list of weights of the layer, so that a new context does not require a walk
    through the modules.
    """

    def __init__(self, inner: Weights) -> None:
        super().__init__()
        self._of_layer = inner

    def of(self, layer: Any) -> list[Tensor]:
        tensors = [*self._of_layer.of(layer.bijection), layer.context]
        self.drawn = self._of_layer.drawn
        return tensors

    def modes(self, layer: Any) -> list[bool]:
        return [layer.training, *self._of_layer.modes(layer.bijection)]
