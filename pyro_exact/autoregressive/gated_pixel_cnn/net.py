"""Gated PixelCNN: a vertical and a horizontal stack with gates, which together see every pixel before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.checks import LARGEST_COUNT, check_elements, check_kernel, check_size
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn import line_buffer
from pyro_exact.nn.masked_convolution import MaskedConv2d, Prepared, groups, spans


class GatedPixelCNN(PixelNet):
    r"""Gated convolutions in two stacks: one over the rows above, one over the row of the pixel.

    .. math::
        a_v &= W_v * v + V_v c, \qquad &v' &= \gamma(a_v) \\
        a_h &= W_h * h + W_{vh}\, a_v + V_h c, \qquad &h' &= h + W_r\, \gamma(a_h), \qquad
        \gamma(a, b) = \tanh(a) \odot \sigma(b)

    The vertical stack :math:`v` sees whole rows without a mask, so that there is no blind spot: in
    a network that is deep enough for the image, every number depends on all that come before. The
    gates of the horizontal stack :math:`h` also add to the input of two last 1x1 convolutions. A
    context :math:`c` adds to every
    gate: a class as a one-hot vector, a latent vector, or a map of the size of the image.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels; two make bits. `None` for real numbers, which need a
            likelihood.
        width: Channels of either stack.
        depth: Number of layers after the first, which has a 7x7 kernel.
        kernel_size: Odd side of their kernels.
        head_width: Channels of the two last convolutions' input.
        context_shape: Size of a context vector, or shape of a context map (channels, H, W).
        likelihood: What theta means, if not that of single levels: a site may be a pixel with all
            its channels, as with `DiscretizedLogisticMixture`, whose channels then come all at
            once.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, \*context_shape).
        - theta: (\*batch, C, H, W, likelihood.num_params), or (\*batch, H, W,
          likelihood.num_params).

    Raises:
        ValueError: If the shape is not that of images, a context is neither a vector nor a map of
            the size of the image, there are fewer than two levels, or a layer has fewer channels
            than the image has colours.

    Reference:
        Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu (2016), Conditional
        Image Generation with PixelCNN Decoders, equations 2-4 and figure 2.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = GatedPixelCNN((1, 8, 8), levels=2, width=8, depth=2, head_width=8, context_shape=10)
        >>> label = torch.nn.functional.one_hot(torch.tensor([3, 7]), 10)
        >>> Autoregressive(net, context=label).sample().shape
        torch.Size([2, 1, 8, 8])
    """

    rows, columns = 4, 3

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None = 256,
        width: int = 128,
        depth: int = 12,
        kernel_size: int = 5,
        head_width: int = 1024,
        context_shape: int | Sequence[int] | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(shape, levels, context_shape, likelihood)
        name = type(self).__name__
        depth = check_size(name, "depth", depth, least=0, most=LARGEST_COUNT)
        kernel_size = check_kernel(name, "kernel_size", kernel_size)
        width = check_size(name, "width", width)
        head_width = check_size(name, "head_width", head_width)
        if self.context_shape is not None and self.context_shape[1:] not in (
            (),
            (self.height, self.width),
        ):
            raise ValueError(
                f"{name} expects a context vector, or a map of shape (channels, {self.height}, {self.width}); got the "
                f"shape {self.context_shape}. Resize the map."
            )
        image, stack, last = (groups(n, self.colours) for n in (self.channels, width, head_width))
        channels = None if self.context_shape is None else self.context_shape[0]
        self.side = kernel_size // 2
        self.first = GatedLayer(
            image, stack, torch.cat((stack, last)) if depth else last, 7, channels, first=True
        )
        self.layers: Sequence[GatedLayer] = nn.ModuleList(  # type: ignore[assignment]
            GatedLayer(
                stack,
                stack,
                torch.cat((stack, last)) if i < depth else last,
                kernel_size,
                channels,
            )
            for i in range(1, depth + 1)
        )
        self.head = MaskedConv2d(last, last)
        params = torch.arange(self.colours).repeat_interleave(self.likelihood.num_params)
        self.last = MaskedConv2d(last, params)
        self.spans = [spans(n, self.colours) for n in (width, head_width)]

    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        vertical, x = self.first(images, images, context)
        for layer in self.layers:
            vertical, out = layer(vertical, x[:, : layer.width], context)
            x = x[:, -out.shape[1] :] + out
        theta: Tensor = self.last(self.head(x.relu()).relu())
        return theta

    def memory(self, cursor: Cursor, context: Tensor | None) -> Memory:
        image, stacks, layers = cursor.image, self.spans[0], [self.first, *self.layers]
        batch = len(image)
        masked = [layer for layer in self.modules() if isinstance(layer, MaskedConv2d)]
        vertical = [image[:, :-1], *(layer.start(batch, self.width) for layer in self.layers)]
        horizontal = [layer.horizontal.start(batch, self.width).squeeze(1) for layer in self.layers]
        return Memory(
            context=None if context is None else context.movedim(1, -1).contiguous(),
            taps=(
                self.first.horizontal.taps(image),
                torch.arange(self.side + 1, device=image.device),
            ),
            row_taps=[
                layer.row_taps(v, self.width)
                for layer, v in zip(layers[:2], vertical, strict=False)
            ],
            vertical=vertical,
            horizontal=horizontal,
            colours=[[row[..., stack] for row in horizontal] for stack in stacks],
            above=[
                image.new_empty(batch, self.width, len(layers), 2, stack.stop - stack.start)
                for stack in stacks
            ],
            pixels=[layer.start(batch, 1).flatten(1) for layer in masked if layer.bias is not None],
            row_weights=[layer.prepare_row() for layer in layers],
            weights=[[layer.prepare(colour) for layer in masked] for colour in range(self.colours)],
        )

    def begin_row(self, cursor: Cursor, memory: Memory) -> None:
        context = memory.context
        if context is not None:
            context = (
                context if context.shape[1] == 1 else context.index_select(1, cursor.row)
            ).squeeze(1)
        layer, places, v = self.first, memory.row_taps[0], None
        for i, (lines, weights) in enumerate(zip(memory.vertical, memory.row_weights, strict=True)):
            if v is not None:
                layer, places = self.layers[i - 1], memory.row_taps[1]
                line_buffer.next_row(lines)
                lines[:, -1, layer.side : layer.side + self.width] = v
                memory.horizontal[i - 1].zero_()
            seen = line_buffer.window(lines, places).view(
                len(lines), self.width, len(weights[0][1])
            )
            a, across = layer.above_row(seen, context, weights)
            v, by_half = gated(a, -1), across.unflatten(-1, (2, -1))
            for above, channels in zip(memory.above, self.spans[0], strict=True):
                above[:, :, i] = by_half[..., channels]

    def number(self, colour: int, cursor: Cursor, memory: Memory) -> Tensor:
        stack, last = (channels[colour] for channels in self.spans)
        width = stack.stop - stack.start
        above = memory.above[colour].index_select(1, cursor.column).squeeze(1).flatten(2).unbind(1)
        weights, pixels = iter(memory.weights[colour]), iter(memory.pixels)

        def gates(from_above: Tensor, seen: Tensor) -> Tensor:
            a = torch.addmm(from_above, seen, next(weights)[1])
            return line_buffer.so_far(
                next(pixels), a[:, :width].tanh_().mul_(a[:, width:].sigmoid_()), stack
            )

        first, places = (taps + cursor.column for taps in memory.taps)
        g = gates(above[0], line_buffer.window(cursor.image, first))
        x, column = MaskedConv2d.step(g, next(weights)), cursor.column + self.side
        for from_above, row, mine in zip(
            above[1:], memory.horizontal, memory.colours[colour], strict=True
        ):
            mine.index_copy_(1, column, x[:, :width].unsqueeze(1))
            g = gates(from_above, row.index_select(1, places).flatten(1))
            bias, weight = next(weights)
            x = (
                x if len(bias) == x.shape[1] else x[:, width:]
            )  # the last layer makes nothing for the stack
            x.addmm_(g, weight).add_(bias)
        for _ in range(2):
            x = MaskedConv2d.step(line_buffer.so_far(next(pixels), x.relu_(), last), next(weights))
        return x

    def contexts(self, context: Tensor | None, batch_shape: Sequence[int]) -> Tensor | None:
        """Return the context as maps, of one pixel if it is a vector."""
        context = super().contexts(context, batch_shape)
        return context if context is None or context.dim() == 4 else context[..., None, None]

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


class GatedLayer(nn.Module):
    """A layer of both stacks.

    Args:
        inputs: Colours of the channels of its input.
        stack: Colours of the channels of either stack.
        outputs: Colours of the channels that the horizontal gates make: for the stack, then for the
            skip connection.
        kernel_size: Odd side of the whole kernel.
        context: Channels of the context.
        first: Whether the input is the image, of which rows above and earlier colours are seen
            only.
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
        check_elements(
            "GatedPixelCNN", units, max(units, len(inputs)), self.side + (not first), kernel_size
        )
        self.vertical = nn.Conv2d(len(inputs), units, (self.side + (not first), kernel_size))
        self.across = nn.Conv2d(units, units, 1)
        self.horizontal = MaskedConv2d(
            inputs, stack.repeat(2), (1, kernel_size), strict=first, bias=False
        )
        self.out = MaskedConv2d(stack, outputs)
        self.context = None if context is None else nn.Conv2d(context, 2 * units, 1, bias=False)

    def forward(
        self, vertical: Tensor, horizontal: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the vertical stack, and what the horizontal gates make."""
        rows = F.pad(vertical, (self.side, self.side, self.side, -1 if self.first else 0))
        if self.context is not None:
            context = self.context(context)
        a, across = _across(self.vertical(rows), self.across, context, 1)
        return gated(a, 1), self.out(gated(self.horizontal(horizontal) + across, 1))

    def start(self, batch: int, width: int) -> Tensor:
        """Return lines for the vertical stack below this layer."""
        channels, side = self.vertical.in_channels, self.side
        return line_buffer.start(self.vertical.weight, batch, side + 1, width, channels, side, side)

    def row_taps(self, lines: Tensor, width: int) -> Tensor:
        """Return the places in lines that the vertical kernel sees at each column of a row."""
        rows, columns = self.vertical.weight.shape[2:]
        taps = line_buffer.taps(lines, rows, columns, columns)
        return (torch.arange(width, device=taps.device)[:, None] + taps).flatten()

    def prepare_row(self) -> tuple[Prepared, ...]:
        """Return bias and weights of the vertical convolution and of the one across, for `above_row`."""
        return tuple(
            (cast(Tensor, layer.bias), layer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
            for layer in (self.vertical, self.across)
        )

    def above_row(
        self, seen: Tensor, context: Tensor | None, weights: tuple[Prepared, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return the input of the vertical gates, and what adds to that of the horizontal ones, of a row.

        Args:
            seen: What the vertical kernel sees at each pixel, (N, W, places * channels).
            context: Of each pixel, (N, W, channels), or (N, 1, channels).
            weights: From `prepare_row`.
        """
        if self.context is not None and context is not None:
            context = F.linear(context, self.context.weight.flatten(1))
        vertical, across = (partial(_dense, *prepared) for prepared in weights)
        return _across(vertical(seen), across, context, -1)


class Memory(NamedTuple):
    """What the steps keep and read.

    Attributes:
        context: As maps, (batch, H, W, channels), or (batch, 1, 1, channels).
        taps: Of the horizontal kernels of the first layer and of the others.
        row_taps: Of their vertical kernels at all columns.
        vertical: Lines of the vertical stack below each layer.
        horizontal: The row of the horizontal stack below each layer, (batch, side + W, channels).
        colours: The channels of each colour of these rows.
        above: What the vertical stack adds to the gates of a row, for each colour: (batch, W,
            layers, 2, channels).
        pixels: The input of each 1x1 layer at the pixel.
        row_weights: Of the vertical stack.
        weights: Of the horizontal one, for each colour.
    """

    context: Tensor | None
    taps: tuple[Tensor, Tensor]
    row_taps: list[Tensor]
    vertical: list[Tensor]
    horizontal: list[Tensor]
    colours: list[list[Tensor]]
    above: list[Tensor]
    pixels: list[Tensor]
    row_weights: list[tuple[Prepared, ...]]
    weights: list[list[Prepared]]


def gated(a: Tensor, dim: int) -> Tensor:
    """Return one half of the channels, between -1 and 1, gated by the other."""
    value, gate = a.chunk(2, dim)
    return value.tanh() * gate.sigmoid()


def _dense(bias: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    return torch.matmul(x, weight).add_(bias)


def _across(
    a: Tensor, across: Callable[[Tensor], Tensor], context: Tensor | None, dim: int
) -> tuple[Tensor, Tensor]:
    """Return the input of the vertical gates, and what it and the context add to that of the horizontal ones."""
    if context is None:
        return a, across(a)
    mine, other = context.chunk(2, dim)
    a = a + mine
    return a, across(a) + other
