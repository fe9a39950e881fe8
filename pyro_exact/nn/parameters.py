"""The parameters of a layer: free, or free plus a function of a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements


class Parameters(nn.Module):
    """Named tensors that are used by a layer as parameters, plain or conditional.

    Without a context, the parameters are free. With a context, a hypernetwork adds a function of
    the context. The last layer starts at zero, so that the conditional layer starts equal to the
    plain layer.

    Args:
        initial: Name and initial value of each parameter.
        context_dim: Size of an optional context vector, `None` for free parameters.
        hidden_dims: Widths of the hidden layers of the hypernetwork. By default it is linear.

    Shape:
        - context: (*batch, context_dim).
        - returns, in the order of ``initial``: (*batch, *shape of the parameter); without a context
          no batch.

    Raises:
        ValueError: If a context is required and was not given.
    """

    def __init__(
        self,
        initial: Mapping[str, Tensor],
        context_dim: int | None = None,
        hidden_dims: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.names = tuple(initial)
        for name, value in initial.items():
            # Of a tensor that is not contiguous `pyro.module` registers a copy, and stock SVI would
            # train that.
            contiguous = value.detach().clone(memory_format=torch.contiguous_format)
            self.register_parameter(name, nn.Parameter(contiguous))

        self.sizes = [value.numel() for value in initial.values()]
        self.context_dim = context_dim
        if context_dim is not None:
            self.hypernet = hypernet(context_dim, sum(self.sizes), hidden_dims)

    def free(self) -> tuple[Tensor, ...]:
        """Return the free parameters, in the order of ``initial``."""
        return tuple(getattr(self, name) for name in self.names)

    def forward(self, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the parameters, using the context if it is given."""
        free = self.free()
        if self.context_dim is None:
            return free

        if context is None:
            raise ValueError(
                f"A conditional layer expects a context of shape (*batch, {self.context_dim}); got "
                f"none. "
                f"Call layer.condition(context) first."
            )

        changes = self.hypernet(context.to(free[0].dtype)).split(self.sizes, dim=-1)

        return tuple(
            p + d.reshape(d.shape[:-1] + p.shape) for p, d in zip(free, changes, strict=True)
        )

    def extra_repr(self) -> str:
        shapes = ", ".join(f"{name}={tuple(getattr(self, name).shape)}" for name in self.names)
        return shapes if self.context_dim is None else f"{shapes}, context_dim={self.context_dim}"


class Perceptron(nn.Sequential):
    """Linear layers with a ReLU after all but the last, for small vectors.

    This computes the same as `torch.nn.Sequential`, without the calls of modules, which take as
    long as a small product.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for layer in self:
            # No hidden layer needs its own output again: the ReLU writes into it.
            x = F.linear(x, layer.weight, layer.bias) if isinstance(layer, nn.Linear) else x.relu_()

        return x


def hypernet(
    context_dim: int,
    output_dim: int,
    hidden_dims: Sequence[int] = (),
) -> Perceptron:
    """Return an MLP whose last layer starts at zero."""
    widths = [context_dim, *hidden_dims]
    if context_dim < 0 or min(hidden_dims, default=1) < 1:
        raise ValueError(
            f"A network expects positive sizes; got {context_dim} inputs and hidden "
            f"{list(hidden_dims)}."
        )

    for below, above in pairwise([*widths, output_dim]):
        check_elements("A network", below, above)

    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU(inplace=True)]

    last = nn.Linear(widths[-1], output_dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)

    return Perceptron(*layers, last)
