"""The exponential linear unit, with a gradient written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active


def elu(x: Tensor) -> Tensor:
    r"""Return x where it is positive, and :math:`e^x - 1` elsewhere.

    This computes `elu_reference` in a fraction of the time that is required by torch on a CPU.

    Reference:
        Clevert, Unterthiner and Hochreiter (2016), Fast and Accurate Deep Network Learning by
        Exponential Linear Units.

    Example:
        >>> elu(torch.tensor([2.0, -1.0]))
        tensor([ 2.0000, -0.6321])
    """
    if functorch_active():
        return elu_reference(x)

    activated: Tensor = ELU.apply(x)
    return activated


def elu_reference(x: Tensor) -> Tensor:
    """Compute `elu` via torch."""
    return F.elu(x)


class ELU(torch.autograd.Function):
    """The function and the gradient, which depends on the output only.

    The output is saved by the next layer anyway.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return max(x, exp(-|x|) - 1), in which the exponential cannot overflow."""
        below = x.abs().neg_().exp_().sub_(1)
        y = torch.maximum(x, below)
        ctx.save_for_backward(y)

        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x: y' = min(y, 0) + 1."""
        (y,) = ctx.saved_tensors
        return (y.clamp(max=0) + 1) * grad
