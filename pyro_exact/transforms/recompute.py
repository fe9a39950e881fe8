"""Gradients of a sequence of layers without stored activations.

The input of each layer is computed from the output via the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyro_exact.nn.dropout import Dropout
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.parts import context_for

if TYPE_CHECKING:
    from pyro_exact.transforms.compose import Compose


RandomState = tuple[Tensor, Tensor | None]  # of the CPU, and of the device


class Recompute(torch.autograd.Function):
    """A sequence of parts, evaluated without a graph.

    The backward pass computes the gradient part by part, using the recomputed inputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        compose: Compose,
        x: Tensor,
        context: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.compose = compose
        ctx.weights = weights
        ctx.versions = [weight._version for weight in weights]

        # No cache: casts of the weights made here would be without gradient for whoever uses them
        # next.
        device = x.device.type
        modes = {
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
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
    def backward(
        ctx: Any,
        grad: Tensor,
        grad_ladj: Tensor,
    ) -> tuple[Tensor | None, ...]:
        _check_backward(ctx)
        y, context = ctx.saved_tensors
        if context is not None:
            context = context.detach().requires_grad_(ctx.needs_input_grad[2])

        through_context = [context] if ctx.needs_input_grad[2] else []
        index = {weight: i for i, weight in enumerate(ctx.weights)}
        grads: list[Tensor | None] = [None] * len(ctx.weights)
        grad_context: Tensor | None = None
        with (
            torch.random.fork_rng([y.device] if y.is_cuda else []),
            torch.autocast(**ctx.autocast),
        ):
            for part, random in reversed(list(zip(ctx.compose.parts, ctx.random, strict=True))):
                y, weights, found = _replay(
                    part,
                    y,
                    context,
                    random,
                    (grad, grad_ladj),
                    through_context,
                )
                grad = found[0]
                for weight, g in zip(weights, found[1:], strict=False):
                    i = index[weight]
                    grads[i] = _add(grads[i], g)

                if through_context:
                    grad_context = _add(grad_context, found[-1])

        grad_x = grad if ctx.needs_input_grad[1] else None
        return None, grad_x, grad_context, *grads


def _check_backward(ctx: Any) -> None:
    """Check that a first derivative is required, and that the weights have not changed."""
    if torch.is_grad_enabled():  # as with create_graph=True
        raise RuntimeError(
            "Compose with recompute has first derivatives only. Build it with recompute=False."
        )

    if ctx.versions != [weight._version for weight in ctx.weights]:
        raise RuntimeError(
            "Compose with recompute expects the weights of the forward pass; got changed weights."
        )


def _replay(
    part: Bijection,
    y: Tensor,
    context: Tensor | None,
    random: RandomState,
    grads: tuple[Tensor, Tensor],
    through_context: list[Tensor],
) -> tuple[Tensor, list[nn.Parameter], tuple[Tensor, ...]]:
    """Return the input of a part, the weights, and the gradients.

    The gradients are those of the input, of the weights, and of the context if it is required.

    Args:
        part: The part.
        y: The output of the part.
        context: The context.
        random: The state of the random generators before the part was evaluated.
        grads: The gradients of the output and of the log-determinant.
        through_context: The context, if the gradient is required.
    """
    given = context_for(part, context)
    with torch.no_grad():
        _set_random_state(y.device, random)
        x, _ = part.invert(y, given)

    with torch.enable_grad():
        _set_random_state(y.device, random)
        x = x.detach().requires_grad_()
        outputs = part.transform(x, given)

    weights = [weight for weight in part.parameters() if weight.requires_grad]
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
    found = torch.autograd.grad(
        [output for output, _ in pairs],
        [x, *weights, *through_context],
        [grad for _, grad in pairs],
        allow_unused=True,
    )

    return x.detach(), weights, found


def _add(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    return term if total is None else total if term is None else total + term


def _random_state(device: torch.device) -> RandomState:
    on_cpu = torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return on_cpu, on_device


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def check_replayable(parts: Sequence[Bijection]) -> None:
    """Check that recomputation drops the same units, although it draws in the order of the inverse.

    Raises:
        ValueError: If a part has dropout in training mode, and the two directions may draw in a
            different order.
    """
    for part in parts:
        if not _replayable(part):
            raise ValueError(
                f"Compose with recompute expects parts that drop the same units in both "
                f"directions, as a Coupling "
                f"does; got {type(part).__name__} with dropout in training mode. Build it with "
                f"recompute=False, or "
                f"without dropout."
            )


def _replayable(part: nn.Module) -> bool:
    """Return whether both directions of a part draw the same random values in the same order."""
    if isinstance(part, Coupling) or not _dropouts(part):
        return True  # an evaluation of its network, in either direction

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
    """Count the dropout layers in training mode."""
    kinds = (Dropout, nn.Dropout, nn.Dropout2d)
    return sum(
        isinstance(part, kinds) and part.training and part.p > 0 for part in module.modules()
    )
