"""The activation of PixelCNN++ and Flow++, with a gradient written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active


def concat_elu(x: Tensor, dim: int = -1) -> Tensor:
    r"""Return ELU(x) and ELU(-x), concatenated in a dimension.

    With :math:`e = e^{-|x|} - 1 \le 0` they are max(x, e) and max(-x, e), so that a single
    exponential is used for both. This computes `concat_elu_reference`, faster.

    Args:
        x: A tensor.
        dim: The dimension, whose size doubles (default -1).

    Reference:
        Shang, Sohn, Almeida and Lee (2016), Understanding and Improving Convolutional Neural
        Networks via Concatenated Rectified Linear Units, with ELU in place of ReLU, as in
        PixelCNN++, official code (`concat_elu`).

    Example:
        >>> concat_elu(torch.tensor([2.0, -1.0]))
        tensor([ 2.0000, -0.6321, -0.8647,  1.0000])
    """
    if functorch_active():
        return concat_elu_reference(x, dim)

    activated: Tensor = ConcatELU.apply(x.movedim(dim, -1))
    return activated.movedim(-1, dim)


def concat_elu_reference(x: Tensor, dim: int = -1) -> Tensor:
    """Compute `concat_elu` using torch."""
    plus = F.elu(x)
    minus = F.elu(-x)
    return torch.cat((plus, minus), dim=dim)


class ConcatELU(torch.autograd.Function):
    """The two ELUs and the gradient, which depends on the outputs only.

    The outputs are saved by the next layer anyway.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return both, (*, n) -> (*, 2 n)."""
        # e = exp(-|x|) - 1
        below = x.abs().neg_().exp_().sub_(1)

        plus = torch.maximum(x, below)
        minus = torch.maximum(x.neg(), below)
        y = torch.cat((plus, minus), dim=-1)
        ctx.save_for_backward(y)

        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x, using y' = min(y, 0) + 1 for each half."""
        (y,) = ctx.saved_tensors
        slope = y.clamp(max=0) + 1
        plus, minus = (slope * grad).chunk(2, dim=-1)
        return plus - minus
