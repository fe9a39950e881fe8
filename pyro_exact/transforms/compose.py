"""Composition of bijections, with an option that stores no activations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyro_exact.nn.dropout import Dropout
from pyro_exact.transforms.bijection import Bijection, Shape, common_context_shape, context_for
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.coupling import Coupling

FEW = 4  # terms that are added up one by one faster than as a stack


class Compose(Bijection):
    r"""Layers one after the other; their log-determinants add up.

    .. math::
        y = (f_n \circ \dots \circ f_1)(x), \qquad
        \log|\det \partial y/\partial x| = \sum_i \log|\det f_i'|

    Args:
        parts: The layers in the order in which they are applied. Conditional ones share one ``context_shape``.
        recompute: Store no activations for the backward pass: rebuild the input of each part from its output by the
            inverse (Gomez, Ren, Urtasun and Grosse, 2017, The Reversible Residual Network). Memory does not grow with
            the number of parts, and the backward pass costs one more pass. First-order gradients only. Under
            ``torch.compile``, which plans the memory of its graphs itself, it has no effect.

    Cost:
        - forward: the sum of the parts.
        - inverse: the sum of the parts' inverses, from last to first.

    Shape:
        - x: (\*batch, \*event) of the first part; y: of the last; ladj: (\*batch).

    Raises:
        ValueError: If neighbours disagree on the event dimensions, or conditional parts on the context; with
            ``recompute``, if a part has its context bound already.
        TypeError: If a part is no `Bijection`.

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
                    f"Compose expects parts of type Bijection; got {type(part).__name__}. Derive it from Bijection."
                )
        for first, second in pairwise(parts):
            if first.codomain.event_dim != second.domain.event_dim:
                raise ValueError(
                    f"Compose expects neighbours with equal event dimensions; got {type(first).__name__} "
                    f"with {first.codomain.event_dim} before {type(second).__name__} with {second.domain.event_dim}. "
                    f"Put a Flatten between them, or build one of them with another event_dim."
                )
        if recompute and any(isinstance(module, Conditioned) for part in parts for module in part.modules()):
            raise ValueError(
                "Compose with recompute expects parts without a bound context, whose gradient would be lost; got "
                "Conditioned. Compose the conditional layers, and condition the whole."
            )
        context_shape = common_context_shape("Compose", (part.context_shape for part in parts))
        super().__init__(parts[0].event, parts[-1].output, context_shape)
        self.domain, self.codomain = parts[0].domain, parts[-1].codomain
        self.parts: Sequence[Bijection] = nn.ModuleList(parts)  # type: ignore[assignment]
        self.recompute = recompute

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # A compiled graph plans its memory itself.
        if self.recompute and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            check_replayable(self.parts)
            weights = [p for p in self.parameters() if p.requires_grad]
            output: tuple[Tensor, Tensor] = _Recompute.apply(self, x, context, *weights)
            return output
        ladjs = []
        for part in self.parts:
            x, ladj = part.transform(x, None if part.context_shape is None else context)
            ladjs.append(ladj)
        return x, _sum(ladjs)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladjs = []
        for part in reversed(self.parts):
            y, ladj = part.invert(y, None if part.context_shape is None else context)
            ladjs.append(ladj)
        return y, _sum(ladjs)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for part in self.parts:
            x = part.data_init(x, context_for(part, context))
        return x

    def forward_shape(self, shape: Shape) -> torch.Size:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return torch.Size(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return torch.Size(shape)


def check_replayable(parts: Sequence[Bijection]) -> None:
    """Check that recomputation would drop the same units: it draws again, in the order of the inverse.

    Raises:
        ValueError: If a part has dropout in training mode, and its two directions may draw in another order.
    """
    for part in parts:
        if not _replayable(part):
            raise ValueError(
                f"Compose with recompute expects parts that drop the same units in both directions, as a Coupling "
                f"does; got {type(part).__name__} with dropout in training mode. Build it with recompute=False, or "
                f"without dropout."
            )


def _replayable(part: nn.Module) -> bool:
    """Return whether both directions of a part draw the same random numbers in the same order."""
    if isinstance(part, Coupling) or not _dropouts(part):
        return True  # one evaluation of its network, in either direction
    inside = [layer for layer in _inside(part) if _dropouts(layer)]
    all_inside = sum(map(_dropouts, inside)) == _dropouts(part)
    return all_inside and len(inside) == 1 and _replayable(inside[0])


def _inside(part: nn.Module) -> list[Bijection]:
    """Return the layers that a container holds directly."""
    found: list[Bijection] = []
    for child in part.children():
        found += [child] if isinstance(child, Bijection) else _inside(child)
    return found


def _dropouts(module: nn.Module) -> int:
    """Return the number of dropouts in training mode."""
    kinds = (Dropout, nn.Dropout, nn.Dropout2d)
    return sum(isinstance(part, kinds) and part.training and part.p > 0 for part in module.modules())


def _sum(ladjs: list[Tensor]) -> Tensor:
    """Return the sum of log-determinants; a bound context may have given some of them a larger batch shape."""
    if len(ladjs) <= FEW:
        return reduce(torch.add, ladjs)
    return torch.stack(torch.broadcast_tensors(*ladjs)).sum(0)


class _Recompute(torch.autograd.Function):
    """The parts in a row, forwards without a graph; backwards one part at a time from its rebuilt input."""

    @staticmethod
    def forward(
        ctx: Any, compose: Compose, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.compose, ctx.weights, ctx.versions = compose, weights, [weight._version for weight in weights]
        # No cache: casts of the weights made here would be without gradient for whoever uses them next.
        device = x.device.type
        modes = {"dtype": torch.get_autocast_dtype(device), "enabled": torch.is_autocast_enabled(device)}
        ctx.autocast = {"device_type": device, **modes, "cache_enabled": False}
        total = x.new_zeros(x.shape[: x.dim() - compose.domain.event_dim])
        ctx.random = []
        with torch.no_grad(), torch.autocast(**ctx.autocast):
            for part in compose.parts:
                ctx.random.append(_random_state(x.device))
                x, ladj = part.transform(x, context_for(part, context))
                total = total + ladj
        ctx.save_for_backward(x, context)
        return x, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_ladj: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # as with create_graph=True
            raise RuntimeError("Compose with recompute has first derivatives only. Build it with recompute=False.")
        if ctx.versions != [weight._version for weight in ctx.weights]:
            raise RuntimeError("Compose with recompute expects the weights that forward had; some have changed since.")
        y, context = ctx.saved_tensors
        if context is not None:
            context = context.detach().requires_grad_(ctx.needs_input_grad[2])
        through_context = [context] if ctx.needs_input_grad[2] else []
        index = {weight: i for i, weight in enumerate(ctx.weights)}
        grads: list[Tensor | None] = [None] * len(ctx.weights)
        grad_context: Tensor | None = None
        with torch.random.fork_rng([y.device] if y.is_cuda else []), torch.autocast(**ctx.autocast):
            for part, random in zip(reversed(ctx.compose.parts), reversed(ctx.random), strict=True):
                with torch.no_grad():
                    _set_random_state(y.device, random)
                    x, _ = part.invert(y, context_for(part, context))
                with torch.enable_grad():
                    _set_random_state(y.device, random)
                    x = x.detach().requires_grad_()
                    output, ladj = part.transform(x, context_for(part, context))
                weights = [p for p in part.parameters() if p.requires_grad]
                outputs = [(o, g) for o, g in ((output, grad), (ladj, grad_ladj)) if o.requires_grad]
                inputs = [x, *weights, *through_context]
                found = torch.autograd.grad([o for o, _ in outputs], inputs, [g for _, g in outputs], allow_unused=True)
                for weight, g in zip(weights, found[1:], strict=False):
                    grads[index[weight]] = _add(grads[index[weight]], g)
                if through_context:
                    grad_context = _add(grad_context, found[-1])
                y, grad = x.detach(), found[0]
        return None, grad if ctx.needs_input_grad[1] else None, grad_context, *grads


def _add(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    return term if total is None else total if term is None else total + term


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
