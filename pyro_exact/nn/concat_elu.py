"""The activation of PixelCNN++ and Flow++, and a dropout to go with it, both in few passes over the numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def concat_elu(x: Tensor, dim: int = -1) -> Tensor:
    r"""Return ELU(x) and ELU(-x), one after the other in a dimension.

    With :math:`e = e^{-|x|} - 1 \le 0` they are max(x, e) and max(-x, e): one exponential serves both.

    Reference:
        Shang, Sohn, Almeida and Lee (2016), Understanding and Improving Convolutional Neural Networks via Concatenated
        Rectified Linear Units, with ELU in place of ReLU, as in PixelCNN++, official code (`concat_elu`).

    Example:
        >>> concat_elu(torch.tensor([2.0, -1.0]))
        tensor([ 2.0000, -0.6321, -0.8647,  1.0000])
    """
    activated: Tensor = ConcatELU.apply(x.movedim(dim, -1))
    return activated.movedim(-1, dim)


class ConcatELU(torch.autograd.Function):
    """The two ELUs; the gradient is a function of them, which the next layer keeps anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return them, (*, n) -> (*, 2 n)."""
        y = x.new_empty(*x.shape[:-1], 2 * x.shape[-1])
        plus, minus = y.chunk(2, dim=-1)
        below = x.abs().neg_().exp_().sub_(1)
        torch.maximum(x, below, out=plus)
        torch.maximum(x.neg(), below, out=minus)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x."""
        (y,) = ctx.saved_tensors
        plus, minus = ((y.clamp(max=0) + 1) * grad).chunk(2, dim=-1)
        return plus - minus


class Dropout(nn.Module):
    """Dropout that draws 16 random bits for a number; torch's own takes several times as long on a CPU.

    Args:
        p: Share of the numbers that are dropped in training, in [0, 1), to within 2^-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout expects a share in [0, 1); got {p}.")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers, some of them zero and the others larger, or as they are in evaluation."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = round((1 - self.p) * 2**16)
        return x * (bits < kept - 2**15).to(x.dtype).mul_(2**16 / kept)

    def extra_repr(self) -> str:
        return f"{self.p}"
