"""The residual block of PixelCNN++."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    Pointwise,
    Prepared,
    ShiftedConv2d,
)
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn import line_buffer
from pyro_exact.nn.dropout import Dropout
from pyro_exact.ops.concat_elu import concat_elu


class Feature(NamedTuple):
    """A map, and its `concat_elu`, of which several layers make use."""

    value: Tensor
    active: Tensor


def feature(value: Tensor) -> Feature:
    """Return a map with its activation."""
    return Feature(value, concat_elu(value))


class Memory(NamedTuple):
    """What the steps of a block keep: the lines of both convolutions; the weights of all layers."""

    first_lines: Tensor
    second_lines: Tensor
    first: Prepared
    second: Prepared
    side: tuple[Tensor, Tensor] | None


class GatedResnet(nn.Module):
    r"""A residual block of two shifted convolutions whose output is gated.

    .. math:: h = \phi\big(W \phi(x) + \sum_j V_j \phi(s_j)\big), \qquad a, b = U h + M c, \qquad y = x + a\, \sigma(b)

    where :math:`\phi` is `concat_elu` and the :math:`s_j` are other maps. The output is small at
    first: :math:`U` has gain 0.1.

    Args:
        width: Channels of input and output.
        kernel_size: Of both convolutions.
        centred: See `ShiftedConv2d`.
        sides: Number of other maps.
        dropout: Share of the hidden numbers that are dropped in training.
        context_dim: Size of a context vector c.

    Shape:
        - x, y: (N, H, W, width); sides: (N, H, W, 2 width), activated; context: (N,
          context_dim).

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, official code (`gated_resnet`).
    """

    def __init__(
        self,
        width: int,
        kernel_size: tuple[int, int],
        centred: bool,
        sides: int = 0,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        width = check_size("GatedResnet", "width", width)
        sides = check_size("GatedResnet", "sides", sides, least=0, most=LARGEST_COUNT)
        if context_dim is not None:
            context_dim = check_size("GatedResnet", "context_dim", context_dim)
        self.first = ShiftedConv2d(2 * width, width, kernel_size, centred)
        self.side = Pointwise(2 * width * sides, width) if sides else None
        self.dropout = Dropout(dropout)
        self.second = ShiftedConv2d(2 * width, 2 * width, kernel_size, centred, gain=0.1)
        self.context = (
            None if context_dim is None else nn.Linear(context_dim, 2 * width, bias=False)
        )

    def forward(self, x: Feature, *sides: Tensor, context: Tensor | None = None) -> Feature:
        """Return the block's output."""
        h = self.first(x.active)
        if self.side is not None:
            h = h + self.side(*sides)
        gates = self.second(self.dropout(concat_elu(h)))
        if self.context is not None:
            gates = gates + self.context(context)[:, None, None]
        return feature(x.value + F.glu(gates, dim=-1))

    def start(self, batch: int, width: int, context: Tensor | None) -> Memory:
        """Return the memory before the first row."""
        first_lines, second_lines = (
            layer.start(batch, width) for layer in (self.first, self.second)
        )
        second = self.second.prepare(second_lines)
        if self.context is not None:
            second = second._replace(bias=second.bias + self.context(context)[:, None])
        side = None if self.side is None else self.side.prepare()
        return Memory(first_lines, second_lines, self.first.prepare(first_lines), second, side)

    def step(
        self, memory: Memory, columns: Tensor, new_row: bool, x: Feature, *sides: Tensor
    ) -> Feature:
        """Return some columns of the output row: all of them, or one after the other."""
        record(memory.first_lines, self.first.left, columns, new_row, x.active)
        h = self.first.step(memory.first, memory.first_lines, columns)
        if self.side is not None and memory.side is not None:
            h = h + self.side.step(memory.side, *sides)
        record(memory.second_lines, self.second.left, columns, new_row, concat_elu(h))
        gates = self.second.step(memory.second, memory.second_lines, columns)
        return feature(x.value + F.glu(gates, dim=-1))


def record(lines: Tensor, left: int, columns: Tensor, new_row: bool, values: Tensor) -> None:
    """Write the values of some columns, (N, columns, channels), into the last row of lines, or into a new one."""
    if new_row:
        line_buffer.next_row(lines)
    lines[:, -1].index_copy_(1, columns + left, values)
