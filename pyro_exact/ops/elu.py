"""The exponential linear unit, in few passes over the numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.transformed import transformed


def elu(x: Tensor) -> Tensor:
    r"""Return x where it is positive, and :math:`e^x - 1` elsewhere; torch's own takes many times as long on a CPU.

    Reference:
        Clevert, Unterthiner and Hochreiter (2016), Fast and Accurate Deep Network Learning by
        Exponential Linear Units.

    Example:
        >>> elu(torch.tensor([2.0, -1.0]))
        tensor([ 2.0000, -0.6321])
    """
    if transformed():
        return F.elu(x)
    activated: Tensor = ELU.apply(x)
    return activated


class ELU(torch.autograd.Function):
    """The function; its gradient is a function of its output, which the next layer keeps anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return max(x, exp(-|x|) - 1), in which the exponential cannot overflow."""
        y = torch.maximum(x, x.abs().neg_().exp_().sub_(1))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x."""
        (y,) = ctx.saved_tensors
        return (y.clamp(max=0) + 1) * grad
