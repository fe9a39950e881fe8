"""The steps of Gated PixelCNN: the vertical stack row by row, the horizontal stack site by site."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.gated_pixel_cnn.layer import GatedLayer, gated, vertical_gates
from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.nn import line_buffer
from pyro_exact.nn.line_buffer import gather_window, kernel_offsets, update_pixel
from pyro_exact.nn.masked_convolution import StepWeights, spans

if TYPE_CHECKING:
    from pyro_exact.autoregressive.gated_pixel_cnn.net import GatedPixelCNN


class RowWeights(NamedTuple):
    """Weights with which a layer computes a row of the vertical stack.

    Attributes:
        vertical: W_v, (positions * in_channels, 2 width), and the bias.
        across: W_vh, (2 width, 2 width), and the bias.
        context: V_v and V_h, (4 width, context channels), if there is a context.
    """

    vertical: StepWeights
    across: StepWeights
    context: Tensor | None

    @classmethod
    def of(cls, layer: GatedLayer) -> RowWeights:
        """Return the weights of a layer."""
        context = None if layer.context is None else layer.context.weight.flatten(1)
        return cls(_by_position(layer.vertical), _by_position(layer.across), context)

    def __call__(self, window: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the vertical gates of a row, and the term that is added to the horizontal gates.

        Args:
            window: Inputs that the vertical kernel sees at each pixel, (N, W, positions *
                in_channels).
            context: Context of each pixel, (N, W or 1, channels).
        """
        if self.context is not None and context is not None:
            context = F.linear(context, self.context)

        a = torch.matmul(window, self.vertical.weight).add_(self.vertical.bias)
        return vertical_gates(a, self._across, context, dim=-1)

    def _across(self, a: Tensor) -> Tensor:
        return torch.matmul(a, self.across.weight).add_(self.across.bias)


class SiteWeights(NamedTuple):
    """Weights of a layer of the horizontal stack, for the channels of one colour."""

    horizontal: Tensor  # W_h, (positions * in_channels, 2 width)
    out: StepWeights  # W_r and the skip connection

    @classmethod
    def of(cls, layer: GatedLayer, colour: int) -> SiteWeights:
        """Return the weights of a layer."""
        horizontal = layer.horizontal.step_weights(colour).weight
        return cls(horizontal, layer.out.step_weights(colour))


class ColourCache(NamedTuple):
    """Weights used for one colour, and the terms that the vertical stack adds to the gates.

    Attributes:
        layers: Weights of each layer.
        head: Weights of the convolution before the last.
        last: Weights of the last convolution.
        from_above: The term that the vertical stack adds to the horizontal gates of a row, (N, W,
            layers, 2, width of the colour).
        rows: Views of the channels of this colour in the rows of the horizontal stack.
        stack_channels: Channels of this colour in a stack.
        head_channels: Channels of this colour in the head.
    """

    layers: list[SiteWeights]
    head: StepWeights
    last: StepWeights
    from_above: Tensor
    rows: list[Tensor]
    stack_channels: slice
    head_channels: slice


class GatedPixelCNNCache(NamedTuple):
    """Tensors that the steps of Gated PixelCNN read and write.

    Attributes:
        context: Context maps, (N, H, W, channels), or (N, 1, 1, channels) for a vector.
        row_weights: Weights of the vertical stack, for each layer.
        vertical: Line buffer of the input of the vertical stack, for each layer.
        row_offsets: Kernel offsets of the vertical convolutions at all columns: of the first layer,
            and of inner layers.
        horizontal: Row of the input of the horizontal stack, (N, side + W, width), for each layer
            but the first, which reads the image.
        image_offsets: Kernel offsets of the first horizontal convolution, in the image.
        site_offsets: Kernel offsets of the other horizontal convolutions, in a row.
        gates: Gates of each layer at the pixel, (N, width).
        head: Input of the convolution before the last at the pixel.
        last: Input of the last convolution at the pixel.
        colours: Cache of each colour.
    """

    context: Tensor | None
    row_weights: list[RowWeights]
    vertical: list[Tensor]
    row_offsets: tuple[Tensor, Tensor]
    horizontal: list[Tensor]
    image_offsets: Tensor
    site_offsets: Tensor
    gates: list[Tensor]
    head: Tensor
    last: Tensor
    colours: list[ColourCache]

    @classmethod
    def of(
        cls,
        net: GatedPixelCNN,
        cursor: Cursor,
        context: Tensor | None,
    ) -> GatedPixelCNNCache:
        """Return the cache before the first pixel."""
        image, n, device = cursor.image, len(cursor.image), cursor.image.device
        layers = [net.first, *net.layers]

        # The first layer sees the rows of the image above the current row, which is the last line.
        vertical = [image[:, :-1], *(_vertical_lines(layer, n, net.width) for layer in net.layers)]
        horizontal = [layer.horizontal.empty_lines(n, net.width).squeeze(1) for layer in net.layers]
        offsets = [_row_offsets(*pair, net.width) for pair in zip(layers, vertical, strict=True)]
        side = net.layers[0].side if net.layers else 0

        return cls(
            context=None if context is None else context.movedim(1, -1).contiguous(),
            row_weights=[RowWeights.of(layer) for layer in layers],
            vertical=vertical,
            row_offsets=(offsets[0], offsets[-1]),
            horizontal=horizontal,
            image_offsets=net.first.horizontal.kernel_offsets(image),
            site_offsets=torch.arange(side + 1, device=device),
            gates=[layer.out.empty_pixel(n) for layer in layers],
            head=net.head.empty_pixel(n),
            last=net.last.empty_pixel(n),
            colours=[
                _colour_cache(net, colour, horizontal, image) for colour in range(net.colours)
            ],
        )

    # The vertical stack: a row at a time
    # ---------------------------------------------------------------------------------------------

    def start_row(self, cursor: Cursor) -> None:
        """Compute the vertical stack for a new row, and the terms for the horizontal gates."""
        context = self._row_context(cursor)
        width = self.colours[0].from_above.shape[1]  # of the image
        offsets, v = self.row_offsets[0], None

        for i, (lines, weights) in enumerate(zip(self.vertical, self.row_weights, strict=True)):
            if v is not None:
                offsets = self.row_offsets[1]
                self._store_row(i, lines, v)

            window = gather_window(lines, offsets)
            window = window.view(len(lines), width, len(weights.vertical.weight))

            # a_v = W_v * v + V_v c,  from_above = W_vh a_v + V_h c,  v' = gate(a_v)
            a_v, from_above = weights(window, context)
            v = gated(a_v, -1)

            halves = from_above.unflatten(-1, (2, -1))  # values and gates
            for colour in self.colours:
                colour.from_above[:, :, i] = halves[..., colour.stack_channels]

    def _row_context(self, cursor: Cursor) -> Tensor | None:
        """Return the context of the pixels of a row, (N, W or 1, channels)."""
        if self.context is None:
            return None
        if self.context.shape[1] == 1:
            return self.context.squeeze(1)
        return self.context.index_select(1, cursor.row).squeeze(1)

    def _store_row(self, layer: int, lines: Tensor, v: Tensor) -> None:
        """Append a row to the line buffer below a layer, and clear it in the horizontal stack."""
        width, side = v.shape[1], (lines.shape[2] - v.shape[1]) // 2
        line_buffer.next_row(lines)
        lines[:, -1, side : side + width] = v
        self.horizontal[layer - 1].zero_()

    # The horizontal stack: a site at a time
    # ---------------------------------------------------------------------------------------------

    def site_params(self, colour: int, cursor: Cursor) -> Tensor:
        """Return the parameters of a site, as `GatedPixelCNN.theta` computes them for images."""
        mine = self.colours[colour]
        here = mine.from_above.index_select(1, cursor.column).squeeze(1)
        from_above = here.flatten(2).unbind(1)
        width = mine.stack_channels.stop - mine.stack_channels.start

        # The first layer reads the image.
        window = gather_window(cursor.image, self.image_offsets + cursor.column)
        gates = self._gates(0, mine, from_above[0], window)
        x = mine.layers[0].out(gates)  # h, then the skip connection

        column = cursor.column + len(self.site_offsets) - 1  # behind the padding
        positions = self.site_offsets + cursor.column
        for i, row in enumerate(self.horizontal, start=1):
            mine.rows[i - 1].index_copy_(1, column, x[:, :width].unsqueeze(1))
            window = row.index_select(1, positions).flatten(1)
            gates = self._gates(i, mine, from_above[i], window)

            # h' = h + W_r gate(a_h), and the same for the skip connection
            out = mine.layers[i].out
            if len(out.bias) < x.shape[1]:  # the last layer adds to the skip connection alone
                x = x[:, width:]
            x.addmm_(gates, out.weight).add_(out.bias)

        x = mine.head(update_pixel(self.head, x.relu_(), mine.head_channels))
        return mine.last(update_pixel(self.last, x.relu_(), mine.head_channels))

    def _gates(
        self,
        layer: int,
        mine: ColourCache,
        from_above: Tensor,
        window: Tensor,
    ) -> Tensor:
        """Return the gates of a layer at the pixel, for the colours so far, (N, width)."""
        # a_h = W_h * h + (W_vh a_v + V_h c)
        a_h = torch.addmm(from_above, window, mine.layers[layer].horizontal)

        # tanh(a) sigmoid(b), in place
        width = a_h.shape[1] // 2
        gates = a_h[:, :width].tanh_().mul_(a_h[:, width:].sigmoid_())
        return update_pixel(self.gates[layer], gates, mine.stack_channels)


def _by_position(conv: nn.Conv2d) -> StepWeights:
    """Return the weights of an unmasked convolution, (positions * in_channels, out_channels)."""
    matrix = conv.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    return StepWeights(cast(Tensor, conv.bias), matrix)


def _vertical_lines(layer: GatedLayer, n: int, width: int) -> Tensor:
    """Return an empty line buffer for the vertical convolution of an inner layer."""
    side, channels = layer.side, layer.vertical.in_channels
    weight = layer.vertical.weight
    return line_buffer.empty_lines(
        weight,
        n,
        side + 1,
        width,
        channels,
        side,
        side,
    )


def _row_offsets(layer: GatedLayer, lines: Tensor, width: int) -> Tensor:
    """Return the positions that the vertical kernel sees at each column of a row."""
    rows, columns = layer.vertical.weight.shape[2:]
    offsets = kernel_offsets(lines, rows, columns, columns)
    return (torch.arange(width, device=lines.device)[:, None] + offsets).flatten()


def _colour_cache(
    net: GatedPixelCNN,
    colour: int,
    horizontal: list[Tensor],
    image: Tensor,
) -> ColourCache:
    """Return the cache of a colour before the first pixel."""
    layers = [net.first, *net.layers]
    stack = spans(net.first.out.weight.shape[1], net.colours)[colour]
    width = stack.stop - stack.start
    return ColourCache(
        layers=[SiteWeights.of(layer, colour) for layer in layers],
        head=net.head.step_weights(colour),
        last=net.last.step_weights(colour),
        from_above=image.new_empty(
            len(image),
            net.width,
            len(layers),
            2,
            width,
        ),
        rows=[row[..., stack] for row in horizontal],
        stack_channels=stack,
        head_channels=spans(net.head.weight.shape[1], net.colours)[colour],
    )
