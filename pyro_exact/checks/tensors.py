"""Checks of tensors that users pass: values, masks, contexts, latents.

This module is imported by the command line before torch is required, and importing torch takes
seconds. So torch must be imported inside of these functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def check_tensor(owner: str, name: str, value: object) -> Tensor:
    """Return ``value`` if it is a dense tensor of a real type.

    Use this when data enter the library: for values, masks, contexts and latents.

    Args:
        owner: The function or class that has the argument, as a user would write this name.
        name: The argument.
        value: The value.

    Raises:
        TypeError: If the value is not a tensor (for example an array or a list), or is complex,
            sparse or quantised.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        kind = type(value).__name__
        advice = "Convert it with torch.as_tensor"
        if value is None:
            advice = "Leave it out, or pass a tensor"
        raise TypeError(f"{owner} expects {name} as a tensor; got {kind}. {advice}.")

    if value.is_complex():
        raise TypeError(
            f"{owner} expects {name} of real numbers; got {value.dtype}. Pass {name}.real or "
            f"{name}.abs()."
        )
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        kind, convert = _storage(value)
        raise TypeError(
            f"{owner} expects {name} as a dense tensor; got a {kind} tensor. Convert it with "
            f"{convert}."
        )
    return value


def _storage(value: Tensor) -> tuple[str, str]:
    """Return the kind of a tensor that is not dense, and the expression that makes it dense."""
    if value.is_nested:
        return "nested", "value.to_padded_tensor(0.0)"
    if value.is_quantized:
        return "quantised", "value.dequantize()"
    return str(value.layout).removeprefix("torch."), "value.to_dense()"


def check_floating(owner: str, name: str, value: object) -> Tensor:
    """Return ``value`` if it is a dense tensor of a floating-point type.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        value: The value.

    Raises:
        TypeError: If the value is not such a tensor.
    """
    tensor = check_tensor(owner, name, value)
    if not tensor.is_floating_point():
        raise TypeError(
            f"{owner} expects {name} as a floating-point tensor; got {tensor.dtype}. "
            f"Convert it, for example with {name}.float()."
        )
    return tensor


def check_numbers(owner: str, name: str, value: Tensor) -> Tensor:
    """Return a tensor if it has values, and not only a shape.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        value: The value.

    Raises:
        TypeError: If it is a meta tensor.
    """
    if value.is_meta:
        raise TypeError(
            f"{owner} expects {name} with values; got a meta tensor. Move data and model to a "
            "device."
        )
    return value


def check_event(
    owner: str, name: str, value: Tensor, event_shape: Sequence[int], batch_dims: int = 0
) -> torch.Size:
    """Return the batch shape of ``value`` if the last dimensions are an event of the given shape.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        value: A tensor.
        event_shape: Shape of an event, for example (C, H, W).
        batch_dims: The smallest count of dimensions before the event; 1 means that a batch is
            required.

    Raises:
        ValueError: If the event has another shape, or there are fewer dimensions before it.
    """
    cut = value.dim() - len(event_shape)
    event_fits = cut >= 0 and tuple(value.shape[cut:]) == tuple(event_shape)

    if event_fits and cut >= batch_dims:
        return value.shape[:cut]

    advice = "Reshape it, or build the model for that shape"
    if event_fits:
        advice = f"Add the batch dimension: {name}.unsqueeze(0) for a single one"
    expected = ", ".join(["N" if batch_dims else "*batch", *map(str, event_shape)])
    raise ValueError(
        f"{owner} expects {name} of shape ({expected}); got {tuple(value.shape)}. {advice}."
    )


def check_batch(owner: str, name: str, value: object, event_shape: Sequence[int]) -> Tensor:
    """Return ``value`` if it is a batch of shape (N, *event_shape) that is not empty.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        value: The value.
        event_shape: Shape of an event.

    Raises:
        TypeError: If the value is not a dense tensor of a real type.
        ValueError: If the value has another shape, or no rows.
    """
    batch = check_tensor(owner, name, value)
    rows = check_event(owner, name, batch, event_shape, batch_dims=1)

    if len(rows) == 1 and rows.numel() > 0:
        return batch

    advice = "Leave empty batches out"
    if len(rows) > 1:
        advice = f"Flatten the batch: {name}.flatten(0, {len(rows) - 1})"
    expected = ", ".join(["N", *map(str, event_shape)])
    raise ValueError(
        f"{owner} expects {name} of shape ({expected}), N of at least 1; got "
        f"{tuple(batch.shape)}. {advice}."
    )


def check_mask(owner: str, name: str, value: object) -> Tensor:
    """Return a mask as a tensor of booleans; zeros and ones of any type may be used.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        value: The value.

    Raises:
        TypeError: If the value is not a dense tensor of a real type.
        ValueError: If the value holds other elements.
    """
    import torch

    mask = check_numbers(owner, name, check_tensor(owner, name, value))

    if mask.dtype == torch.bool:
        return mask

    if bool(((mask != 0) & (mask != 1)).any()):
        raise ValueError(
            f"{owner} expects {name} with the values True and False; got other values. Compare "
            "with a threshold."
        )
    return mask.bool()


def check_broadcast(
    owner: str, name: str, shape: Sequence[int], other: str, others: Sequence[int]
) -> torch.Size:
    """Return the shape to which two batch shapes broadcast.

    Args:
        owner: The function or class that has both arguments.
        name: The first argument.
        shape: Batch shape of the first argument.
        other: The second argument.
        others: Batch shape of the second argument.

    Raises:
        ValueError: If they do not broadcast.
    """
    import torch

    try:
        return torch.broadcast_shapes(tuple(shape), tuple(others))
    except RuntimeError:
        raise ValueError(
            f"{owner} expects {name} with a batch shape that broadcasts with the batch shape of "
            f"{other}, {tuple(others)}; got {tuple(shape)}. Add dimensions of size 1, or use "
            "equal batch shapes."
        ) from None


def check_finite(owner: str, name: str, value: Tensor, advice: str) -> Tensor:
    """Return ``value`` if no element is NaN or infinite.

    Use this when floats become integers, pictures or records, because a NaN would turn into an
    ordinary value.

    Args:
        owner: The function or class that computed it, or has the argument.
        name: The tensor.
        value: The tensor itself.
        advice: A sentence with advice, without the full stop.

    Raises:
        ValueError: If an element is NaN or infinite.
    """
    finite = check_numbers(owner, name, value).isfinite()
    if bool(finite.all()):
        return value

    bad, kind = int((~finite).sum()), "NaN" if bool(value.isnan().any()) else "infinite"
    raise ValueError(
        f"{owner} expects {name} to be finite; got {bad} of {value.numel()} elements {kind}. "
        f"{advice}."
    )
