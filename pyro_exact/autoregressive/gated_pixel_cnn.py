"""Gated PixelCNN: a vertical and a horizontal stack with gates, which together see every pixel before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.nn import line_buffer
from pyro_exact.nn.masked_convolution import MaskedConv2d, Prepared, groups, spans


class GatedPixelCNN(PixelNet):
    r"""Gated convolutions in two stacks: one over the rows above, one over the row of the pixel.

    .. math::
        a_v &= W_v * v + V_v c, \qquad &v' &= \gamma(a_v) \\
        a_h &= W_h * h + W_{vh}\, a_v + V_h c, \qquad &h' &= h + W_r\, \gamma(a_h), \qquad
        \gamma(a, b) = \tanh(a) \odot \sigma(b)

    The vertical stack :math:`v` sees whole rows without a mask, so that there is no blind spot: in a network that is
    deep enough for the image, every number depends on all that come before. The gates of the horizontal stack
    :math:`h` also add to the input of two last 1x1 convolutions. A context :math:`c` adds to every gate: a class as a
    one-hot vector, a latent vector, or a map of the size of the image.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels; two make bits.
        hidden: Channels of either stack.
        layers: Number of layers after the first, which has a 7x7 kernel.
        kernel_size: Odd side of their kernels.
        head: Channels of the two last convolutions' input.
        context: Size of a context vector, or shape of a context map (channels, H, W).

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, \*context_shape).
        - theta: (\*batch, C, H, W, likelihood.num_params).

    Raises:
        ValueError: If the shape is not that of images, a context is neither a vector nor a map of the size of the
            image, there are fewer than two levels or layers, or a layer has fewer channels than the image.

    Reference:
        Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu (2016), Conditional Image Generation with
        PixelCNN Decoders, equations 2-4 and figure 2.

    Example:
        >>> from pyro_exact.distributions import Autoregressive
        >>> net = GatedPixelCNN((1, 8, 8), levels=2, hidden=8, layers=2, head=8, context=10)
        >>> label = torch.nn.functional.one_hot(torch.tensor([3, 7]), 10)
        >>> Autoregressive(net, context=label).sample().shape
        torch.Size([2, 1, 8, 8])
    """

    rows, columns = 4, 3

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        hidden: int = 128,
        layers: int = 12,
        kernel_size: int = 5,
        head: int = 1024,
        context: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(shape, levels, context)
        name = type(self).__name__
        if layers < 1:
            raise ValueError(f"{name} expects at least one layer after the first; got {layers}.")
        if self.context_shape is not None and self.context_shape[1:] not in ((), (self.height, self.width)):
            raise ValueError(
                f"{name} expects a context vector, or a map of shape (channels, {self.height}, {self.width}); got the "
                f"shape {self.context_shape}. Resize the map."
            )
        image, stack, last = (groups(n, self.colours) for n in (self.colours, hidden, head))
        channels = None if self.context_shape is None else self.context_shape[0]
        self.first = GatedLayer(image, stack, torch.cat((stack, last)), 7, channels, first=True)
        self.layers: Sequence[GatedLayer] = nn.ModuleList(  # type: ignore[assignment]
            GatedLayer(stack, stack, torch.cat((stack, last)) if i < layers else last, kernel_size, channels)
            for i in range(1, layers + 1)
        )
        self.head = MaskedConv2d(last, last)
        self.last = MaskedConv2d(last, image.repeat_interleave(self.likelihood.num_params))
        self.spans = [spans(n, self.colours) for n in (hidden, head)]

    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        vertical, x = self.first(images, images, context)
        for layer in self.layers:
            vertical, out = layer(vertical, x[:, : layer.width], context)
            x = x[:, -out.shape[1] :] + out
        theta: Tensor = self.last(self.head(x.relu()).relu())
        return theta

    def memory(self, cursor: Cursor, context: Tensor | None) -> Memory:
        batch, width = len(cursor.image), self.width
        horizontal = [layer.horizontal.start(batch, width) for layer in self.layers]
        layers = [layer for layer in self.modules() if isinstance(layer, MaskedConv2d)]
        return Memory(
            context=context,
            taps=(self.first.horizontal.taps(cursor.image), self.layers[0].horizontal.taps(horizontal[0])),
            vertical=[layer.start(batch, width) for layer in self.layers],
            horizontal=horizontal,
            above=[
                cursor.image.new_empty(batch, width, 1 + len(self.layers), 2, stack.stop - stack.start)
                for stack in self.spans[0]
            ],
            pixels=[layer.start(batch, 1).flatten(1) for layer in layers if layer.bias is not None],
            prepared=[[layer.prepare(colour) for layer in layers] for colour in range(self.colours)],
        )

    def begin_row(self, cursor: Cursor, memory: Memory) -> None:
        context = memory.context
        if context is not None and context.shape[2] > 1:
            context = context.index_select(2, cursor.row)
        a, across = self.first.above(cursor.image[:, :-1].movedim(-1, 1), context)
        self._keep(across, 0, memory)
        for i, (layer, rows, row) in enumerate(zip(self.layers, memory.vertical, memory.horizontal, strict=True)):
            line_buffer.next_row(row)
            line_buffer.next_row(rows)
            rows[:, -1, layer.side : -layer.side] = gated(a).squeeze(2).mT
            a, across = layer.above(rows.movedim(-1, 1), context)
            self._keep(across, i + 1, memory)

    def number(self, colour: int, cursor: Cursor, memory: Memory) -> Tensor:
        stack, last = (channels[colour] for channels in self.spans)
        above = iter(memory.above[colour].index_select(1, cursor.column).squeeze(1).flatten(2).unbind(1))
        weights, pixels, step = iter(memory.prepared[colour]), iter(memory.pixels), MaskedConv2d.step

        def dense(x: Tensor, channels: slice) -> Tensor:
            return step(line_buffer.so_far(next(pixels), x, channels), next(weights))

        def layer(lines: Tensor, places: Tensor) -> Tensor:
            _, weight = next(weights)
            return dense(gated(step(line_buffer.window(lines, places), (next(above), weight))), stack)

        first, places = (taps + cursor.column for taps in memory.taps)
        x, column = layer(cursor.image, first), cursor.column + self.layers[0].side
        for lines in memory.horizontal:
            line_buffer.write(lines[..., stack], column, x[:, : stack.stop - stack.start])
            out = layer(lines, places)
            x = x[:, -out.shape[1] :] + out
        return dense(dense(x.relu(), last).relu(), last)

    def _keep(self, across: Tensor, layer: int, memory: Memory) -> None:
        """Keep what the vertical stack adds to a layer of the horizontal one in a row, by colour."""
        by_half = across.squeeze(2).mT.unflatten(-1, (2, -1))
        for above, channels in zip(memory.above, self.spans[0], strict=True):
            above[:, :, layer] = by_half[..., channels]

    def _contexts(self, context: Tensor | None, batch_shape: Sequence[int]) -> Tensor | None:
        """Return the context as maps, of one pixel if it is a vector."""
        context = super()._contexts(context, batch_shape)
        return context if context is None or context.dim() == 4 else context[..., None, None]

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


class GatedLayer(nn.Module):
    """A layer of both stacks.

    Args:
        inputs: Colours of the channels of its input.
        stack: Colours of the channels of either stack.
        outputs: Colours of the channels that the horizontal gates make: for the stack, then for the skip connection.
        kernel_size: Odd side of the whole kernel.
        context: Channels of the context.
        first: Whether the input is the image, of which rows above and earlier colours are seen only.
    """

    def __init__(
        self,
        inputs: Tensor,
        stack: Tensor,
        outputs: Tensor,
        kernel_size: int,
        context: int | None,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.side, self.first, self.width = kernel_size // 2, first, len(stack)
        units = 2 * len(stack)
        self.vertical = nn.Conv2d(len(inputs), units, (self.side + (not first), kernel_size))
        self.across = nn.Conv2d(units, units, 1)
        self.horizontal = MaskedConv2d(inputs, stack.repeat(2), (1, kernel_size), strict=first, bias=False)
        self.out = MaskedConv2d(stack, outputs)
        self.context = None if context is None else nn.Conv2d(context, 2 * units, 1, bias=False)

    def forward(self, vertical: Tensor, horizontal: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the vertical stack, and what the horizontal gates make."""
        rows = F.pad(vertical, (self.side, self.side, self.side, -1 if self.first else 0))
        a, across = self.above(rows, context)
        return gated(a), self.out(gated(self.horizontal(horizontal) + across))

    def above(self, rows: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the input of the vertical gates, and what it and the context add to that of the horizontal ones."""
        a: Tensor = self.vertical(rows)
        if self.context is None:
            return a, self.across(a)
        mine, other = self.context(context).chunk(2, 1)
        a = a + mine
        return a, self.across(a) + other

    def start(self, batch: int, width: int) -> Tensor:
        """Return lines for the vertical stack below this layer."""
        return line_buffer.start(
            self.vertical.weight, batch, self.side + 1, width, self.vertical.in_channels, self.side, self.side
        )


class Memory(NamedTuple):
    """What the steps keep and read.

    Attributes:
        context: As maps.
        taps: Of the first layer and the others.
        vertical: Lines of the vertical stack below each layer.
        horizontal: The row of the horizontal stack below each layer.
        above: What the vertical stack adds to the gates of a row, for each colour: (batch, W, layers, 2, channels).
        pixels: The input of each 1x1 layer at the pixel.
        prepared: Weights for each colour.
    """

    context: Tensor | None
    taps: tuple[Tensor, Tensor]
    vertical: list[Tensor]
    horizontal: list[Tensor]
    above: list[Tensor]
    pixels: list[Tensor]
    prepared: list[list[Prepared]]


def gated(a: Tensor) -> Tensor:
    """Return one half of the channels, between -1 and 1, gated by the other."""
    value, gate = a.chunk(2, 1)
    return value.tanh() * gate.sigmoid()
