"""A layer under test, and inputs for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from pyro.distributions import Distribution, Normal, TransformedDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape

Draw = Callable[[tuple[int, ...]], Tensor]
Direction = Callable[[Tensor], tuple[Tensor, Tensor]]

ROWS = 3


def within(constraint: constraints.Constraint) -> Draw:
    """Return a function from a shape to a tensor of elements that satisfy a constraint."""
    inside = biject_to(constraint)
    return lambda shape: inside(torch.randn(shape, dtype=torch.float64))


@dataclass(frozen=True)
class Trial:
    r"""A copy of a layer and a batch of inputs; each law gets a new trial, and may change it.

    Args:
        layer: The layer, in float64.
        x: Inputs, of shape (3, \*event).
        context: Contexts, of shape (3, context_dim); `None` for a plain layer.
        draw: A function from a shape to a tensor of inputs.
    """

    layer: Bijection
    x: Tensor
    context: Tensor | None
    draw: Draw

    @classmethod
    def of(
        cls,
        layer: Bijection,
        event_shape: Shape,
        context_dim: int | None = None,
        draw: Draw | None = None,
        std: float = 0.5,
    ) -> Trial:
        """Copy a layer and add noise to the weights; arguments as of `check_bijection`."""
        layer = copy.deepcopy(layer).cpu().double().eval()
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(std * torch.randn_like(p))

        context = None
        if context_dim is not None:
            context = torch.randn(ROWS, context_dim, dtype=torch.float64)
        if draw is None:
            draw = within(layer.domain)
        return cls(
            layer,
            draw((ROWS, *event_shape)).double(),
            context,
            draw,
        )

    @property
    def event_shape(self) -> torch.Size:
        return self.x.shape[1:]

    @property
    def output_shape(self) -> torch.Size:
        return self.layer.forward_shape(self.event_shape)

    @property
    def bound(self) -> Bijection:
        """The layer given the contexts, or a plain layer itself."""
        return self.given(self.context)

    def given(self, context: Tensor | None) -> Bijection:
        """Return the layer given a context; `None` for a plain layer."""
        return self.layer if context is None else self.layer.condition(context)

    def row(self, i: int) -> Bijection:
        """Return the layer given the context of a single input."""
        return self.given(None if self.context is None else self.context[i])

    def inputs(self, *batch: int) -> Tensor:
        """Draw a batch of inputs."""
        return self.draw((*batch, *self.event_shape)).double()

    def outputs(self, *batch: int) -> Tensor:
        """Draw a batch of outputs, anywhere in the codomain of the layer."""
        return within(self.layer.codomain)((*batch, *self.output_shape))

    def contexts(self, *batch: int) -> Tensor | None:
        """Draw a batch of contexts, `None` for a plain layer."""
        if self.context is None:
            return None
        return torch.randn(
            *batch,
            self.context.shape[-1],
            dtype=torch.float64,
        )

    def directions(self) -> Iterator[tuple[str, Direction, Tensor]]:
        """Yield the pure methods of the bound layer, with their names and arguments."""
        yield "forward_and_ladj", self.bound.forward_and_ladj, self.x
        yield "inverse_and_ladj", self.bound.inverse_and_ladj, self.outputs(len(self.x))

    def distribution(self) -> TransformedDistribution:
        """Return the distribution of the inputs whose outputs have the distribution `base`."""
        return TransformedDistribution(self.base(), [self.bound.inv])

    def base(self) -> Distribution:
        """Return a normal with a different scale for each element, mapped to the codomain.

        With equal scales, a rotation of the elements would not change the density.
        """
        scale = torch.linspace(
            1,
            2,
            self.output_shape.numel(),
            dtype=torch.float64,
        )
        scale = scale.view(self.output_shape)

        normal = Normal(torch.zeros_like(scale), scale).to_event(scale.dim())
        return TransformedDistribution(normal, [biject_to(self.layer.codomain)])

    def weights(self) -> dict[str, Tensor]:
        """Return the trainable parameters that have elements."""
        return {
            name: p for name, p in self.layer.named_parameters() if p.requires_grad and p.numel()
        }

    def gradients(self, value: Tensor) -> dict[str, Tensor]:
        """Return the gradient of each weight; zeros if the value does not depend on it."""
        weights = self.weights()
        if not (weights and value.requires_grad):
            return {name: torch.zeros_like(p) for name, p in weights.items()}

        found = torch.autograd.grad(
            value,
            list(weights.values()),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return dict(zip(weights, found, strict=True))

    def in_float32(self) -> Trial:
        """Return the same trial in float32."""
        layer = copy.deepcopy(self.layer).float()
        context = None if self.context is None else self.context.float()
        return replace(self, layer=layer, x=self.x.float(), context=context)
