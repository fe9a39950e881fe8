"""The precision of a network.

To which everything that enters it is cast, and which autocast must not round.
"""

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

    That is the first parameter, or buffer, of floating-point numbers; a module without any has the
    default dtype.
    """
    tensors = chain(module.parameters(), module.buffers())
    return next((t for t in tensors if t.is_floating_point()), torch.empty(0))


def cast(value: Tensor, weight: Tensor) -> Tensor:
    """Return a value in the dtype of the weights.

    A tensor that was made in inference mode is copied: autograd could not keep it.
    """
    value = value.to(weight.dtype)
    if torch.compiler.is_compiling():
        return value

    return value.clone() if value.is_inference() and torch.is_grad_enabled() else value


def network_input(
    owner: str,
    name: str,
    value: object,
    weight: Tensor,
) -> Tensor:
    """Return an input of a network in the dtype of its weights.

    Under autocast, half precision stays.

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
    """Return a context in which the products of tensors keep their own precision, also under autocast.

    Use it for formulas, and for networks that both directions of a layer must evaluate alike.
    Outside of autocast it does nothing, and takes no time.

    Args:
        x: A tensor on the device in question.
    """
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type):
        return NOTHING

    return torch.autocast(device_type, enabled=False)


def least_std(dtype: torch.dtype) -> float:
    """Return the smallest standard deviation whose square, by which the density divides, is no less than tiny."""
    return float(torch.finfo(dtype).tiny ** 0.5)
