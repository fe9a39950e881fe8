"""Composition of bijections, with an option that stores no activations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.parts import common_context_shape, context_for
from pyro_exact.transforms.recompute import Recompute, check_replayable

FEW = 4  # terms that are added up one by one faster than as a stack


class Compose(Bijection):
    r"""A sequence of layers, whose log-determinants are added. Use it to build a flow.

    .. math::
        y = (f_n \circ \dots \circ f_1)(x), \qquad
        \log|\det \partial y/\partial x| = \sum_i \log|\det f_i'|

    Args:
        parts: The layers in the order in which they are applied. Conditional layers must share the
            same ``context_shape``.
        recompute: If true, store no activations for the backward pass: the input of each part is
            computed from the output via the inverse (Gomez, Ren, Urtasun and Grosse, 2017, The
            Reversible Residual Network). The memory required does not grow with the depth, and the
            backward pass costs another pass. First-order gradients only. It has no effect under
            ``torch.compile``, which plans the memory of a graph itself.

    Cost:
        - forward: the sum of the parts.
        - inverse: the sum of the inverses of the parts, from last to first.

    Shape:
        - x: (\*batch, \*event) of the first part; y: the same of the last part; ladj: (\*batch).

    Raises:
        ValueError: If neighbours disagree on the event dimensions, or conditional parts on the
            context; with ``recompute``, if the context of a part is already bound.
        TypeError: If a part is not of type `Bijection`.

    Example:
        >>> layer = Compose([Permute([1, 0]), ActNorm(2)])
        >>> layer(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """

    def __init__(self, parts: Sequence[Bijection], recompute: bool = False) -> None:
        parts = list(parts)
        if not parts:
            raise ValueError("Compose expects at least one part; got none. Leave it out instead.")

        for part in parts:
            if not isinstance(part, Bijection):
                raise TypeError(
                    f"Compose expects parts of type Bijection; got {type(part).__name__}. Derive "
                    f"it from Bijection."
                )

        for first, second in pairwise(parts):
            if first.codomain.event_dim != second.domain.event_dim:
                raise ValueError(
                    f"Compose expects neighbours with equal event dimensions; got "
                    f"{type(first).__name__} "
                    f"with {first.codomain.event_dim} before {type(second).__name__} with "
                    f"{second.domain.event_dim}. "
                    f"Put a Flatten between them, or build one of them with another event_dim."
                )

        if recompute and any(
            isinstance(module, Conditioned) for part in parts for module in part.modules()
        ):
            raise ValueError(
                "Compose with recompute expects parts without a bound context, whose gradient "
                "would be lost; got "
                "Conditioned. Compose the conditional layers, and condition the whole."
            )

        context_shape = common_context_shape("Compose", (part.context_shape for part in parts))
        super().__init__(parts[0].event, parts[-1].output, context_shape)
        self.domain = parts[0].domain
        self.codomain = parts[-1].codomain
        self.parts: Sequence[Bijection] = nn.ModuleList(parts)  # type: ignore[assignment]
        self.recompute = recompute

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        # A compiled graph plans its memory itself.
        if self.recompute and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            check_replayable(self.parts)
            weights = [p for p in self.parameters() if p.requires_grad]
            output: tuple[Tensor, Tensor] = Recompute.apply(self, x, context, *weights)
            return output

        ladjs = []
        for part in self.parts:
            given = None if part.context_shape is None else context
            x, ladj = part.transform(x, given)
            ladjs.append(ladj)

        return x, _sum(ladjs)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladjs = []
        for part in reversed(self.parts):
            given = None if part.context_shape is None else context
            y, ladj = part.invert(y, given)
            ladjs.append(ladj)

        return y, _sum(ladjs)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for part in self.parts:
            x = part.data_init(x, context_for(part, context))

        return x

    @property
    def sign(self) -> int:
        return prod(part.sign for part in self.parts)

    def forward_shape(self, shape: Shape) -> torch.Size:
        for part in self.parts:
            shape = part.forward_shape(shape)

        return torch.Size(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)

        return torch.Size(shape)


def _sum(ladjs: list[Tensor]) -> Tensor:
    """Return the sum of log-determinants, which may have different batch shapes."""
    if len(ladjs) <= FEW:
        return reduce(torch.add, ladjs)

    return torch.stack(torch.broadcast_tensors(*ladjs)).sum(0)
