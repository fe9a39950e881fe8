"""Checks at the boundary of a layer.

They are used for the shape of an event, the context, the precision and random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_exact.checks import check_tensor

if TYPE_CHECKING:
    from pyro_exact.transforms.bijection import Bijection

Shape = Sequence[int]
Event = Sequence[int | None]

HALF = (torch.float16, torch.bfloat16)


def other_shape(
    layer: Bijection,
    shape: Shape,
    event: Event,
    other: Event,
) -> torch.Size:
    """Return the shape on the other side of a layer, or say how an event does not fit.

    Args:
        layer: The layer.
        shape: Shape on this side, (*batch, *event).
        event: Declared shape of an event on this side.
        other: Declared shape of an event on the other side; the same, or without `None`.
    """
    cut = len(shape) - len(event)
    found = shape[cut:] if cut >= 0 else ()
    if 0 in found:
        raise ValueError(
            f"{type(layer).__name__} expects events with at least one element in each dimension; "
            f"got {tuple(shape)}. "
            f"Leave empty events out; a batch may be empty."
        )

    if len(found) == len(event) and all(
        size is None or size == mine for size, mine in zip(event, found, strict=True)
    ):
        return torch.Size(shape) if event == other else torch.Size((*shape[:cut], *other))  # type: ignore[arg-type]

    name = type(layer).__name__
    if cut < 0:
        raise ValueError(
            f"{name} expects at least {len(event)} dimensions in an event; got shape "
            f"{tuple(shape)}. "
            f"Add the missing dimensions."
        )

    if None in event[1:] or len(event) == 1:
        kind = "channels" if len(event) > 1 else "dimensions"
        raise ValueError(
            f"{name} expects {event[0]} {kind}; got {found[0]} in shape {tuple(shape)}. "
            f"Build the layer for {found[0]}, or check the order of the dimensions."
        )

    raise ValueError(
        f"{name} expects events of shape {tuple(event)}; got {tuple(shape)}. Build the layer for "
        f"that shape."
    )


def context_batch_shape(layer: Bijection, context: object) -> torch.Size:
    """Return the batch shape of a context, or say how it does not fit."""
    name = type(layer).__name__
    expected = layer.context_shape
    if expected is None:
        raise ValueError(
            f"{name} takes no context; got a {type(context).__name__}. Build it with a context."
        )

    tensor = check_tensor(name, "context", context)
    cut = tensor.dim() - len(expected)
    if cut < 0 or tuple(tensor.shape[cut:]) != expected:
        raise ValueError(
            f"{name} expects a context of shape (*batch, {', '.join(map(str, expected))}); got "
            f"{tuple(tensor.shape)}. "
            f"Pass a context of that size, or build the layer for yours."
        )

    return tensor.shape[:cut]


def check_context(layer: Bijection, context: Tensor | None, batch: torch.Size) -> None:
    """Check that a context fits the layer, and broadcasts to the batch shape of the input."""
    if context is None and layer.context_shape is not None:
        raise ValueError(
            f"{type(layer).__name__} expects a context of shape (*batch, "
            f"{', '.join(map(str, layer.context_shape))}); "
            f"got none. Call layer.condition(context) first."
        )

    found = context_batch_shape(layer, context)
    if len(found) > len(batch) or any(
        f not in (1, b) for f, b in zip(found[::-1], batch[::-1], strict=False)
    ):
        raise ValueError(
            f"{type(layer).__name__} expects an input with the batch shape of its context; got "
            f"{tuple(batch)} and "
            f"{tuple(found)}. Expand the input, or call layer.condition(context), which does."
        )


def precise(layer: Bijection, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the weights, or refuse half precision.

    In half precision, log-determinants would have three digits.
    """
    if dtype in HALF:
        raise TypeError(
            f"{type(layer).__name__} expects weights in float32 or float64; got {dtype}. "
            f"Keep them there, and use torch.autocast to run its networks in half precision."
        )

    return dtype


def first_weight(module: nn.Module) -> Tensor | None:
    """Return the first parameter of a floating-point type; all of a layer share this type."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.is_floating_point():
            return parameter

    for part in module._modules.values():
        weight = None if part is None else first_weight(part)
        if weight is not None:
            return weight

    return None


def check_active(layer: PyroModule) -> None:
    """Check that random weights are used within the call in which Pyro draws the weights.

    A stock ``pyro.sample(..., obs=x)`` scores after the model has returned, when Pyro would draw
    other weights.
    """
    random = any(isinstance(part, PyroModule) and part._pyro_samples for part in layer.modules())
    if random and not layer._pyro_context.active:
        raise ValueError(
            f"{type(layer).__name__} expects to be evaluated inside of the call of the PyroModule "
            f"that holds it, "
            f"because its weights are random variables; got a call outside. "
            f'Score there, with pyro.factor("x", d.log_prob(x)) in place of '
            f'pyro.sample("x", d, obs=x).'
        )
