"""Helper functions for the precision of networks and formulas."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_tensor

NOTHING = nullcontext()
HALF = (torch.float16, torch.bfloat16)


def weight_of(module: nn.Module) -> Tensor:
    """Return a tensor with the dtype and the device of the weights.

    This is the first parameter, or buffer, of a floating-point type; otherwise the default type is
    used.
    """
    tensors = chain(module.parameters(), module.buffers())
    return next((t for t in tensors if t.is_floating_point()), torch.empty(0))


def cast(value: Tensor, weight: Tensor) -> Tensor:
    """Return a value in the type of the weights.

    A tensor that was made in inference mode is copied, because autograd cannot save it.
    """
    value = value.to(weight.dtype)
    if torch.compiler.is_compiling():
        return value

    return value.clone() if value.is_inference() and torch.is_grad_enabled() else value


def network_input(owner: str, name: str, value: object, weight: Tensor) -> Tensor:
    """Return an input of a network in the type of the weights.

    When using autocast, half precision stays.

    Use it at the entrance of every public network.

    Args:
        owner: The network.
        name: The argument.
        value: The input.
        weight: A weight of the network.

    Raises:
        TypeError: If the input is not a tensor of a real type.
    """
    tensor = check_tensor(owner, name, value)
    if tensor.dtype == weight.dtype:
        return tensor

    if tensor.dtype in HALF and torch.is_autocast_enabled(tensor.device.type):
        return tensor

    return cast(tensor, weight)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which products of tensors are not rounded by autocast.

    This should be used for formulas, and for networks that both directions of a layer must evaluate
    equally. Outside of autocast it does nothing, and takes no time.

    Args:
        x: A tensor on the device in question.
    """
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type):
        return NOTHING

    return torch.autocast(device_type, enabled=False)


def least_std(dtype: torch.dtype) -> float:
    """Return the smallest standard deviation whose square is not less than tiny."""
    return float(torch.finfo(dtype).tiny ** 0.5)
