"""The steps of a PixelRNN: a pixel of all layers is computed using the states of the neighbours.

A step computes all channels of a pixel again for each colour: the masks hide elements that are not
known yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.nn.line_buffer import gather_window
from pyro_exact.nn.masked_convolution import MaskedConv2d, StepWeights
from pyro_exact.ops.conv_lstm_scan import lstm_cell

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_rnn.net import PixelRNN


class Neighbours(NamedTuple):
    """Weights of two neighbours in the gates of a layer, (maps, features, 4 width) each."""

    left: Tensor
    above: Tensor


class Weights(NamedTuple):
    """Weights of all layers, stacked: (maps, layers, ...), or (layers, ...) where noted.

    Attributes:
        image_offsets: Kernel offsets of the first convolution, in the image.
        first: Weights of the first convolution.
        inputs: Of the inputs of the LSTMs at the pixel itself, (maps, layers, 2 width, 4 width).
        bias: Of the gates, (maps, layers, 1, 4 width).
        left: Of the pixel on the left.
        above: Of the row above.
        up: Of the 1x1 convolutions behind the LSTMs, (layers, width, 2 width).
        up_bias: Their biases, (layers, 1, 2 width).
        hidden: Initial hidden states, (maps, layers, width).
        cell: Initial cells.
        head_in: Weights of the first convolution of the head.
        head: Weights of the second convolution of the head.
        last: Weights of the last convolution, for each colour.
    """

    image_offsets: Tensor
    first: StepWeights
    inputs: Tensor
    bias: Tensor
    left: Tensor
    above: Tensor
    up: Tensor
    up_bias: Tensor
    hidden: Tensor
    cell: Tensor
    head_in: StepWeights
    head: StepWeights
    last: list[StepWeights]

    @classmethod
    def of(
        cls,
        net: PixelRNN,
        cursor: Cursor,
        neighbours: list[Neighbours],
    ) -> Weights:
        """Return the weights of a network.

        Args:
            net: The network.
            cursor: The position before the first pixel.
            neighbours: Weights of the neighbours in each layer.
        """

        def by_map(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (net.maps, -1))

        biases = [layer.inputs.bias for layer in net.layers if layer.inputs.bias is not None]
        ups = [_all_colours(layer.up, net.colours) for layer in net.layers]
        return cls(
            image_offsets=net.first.kernel_offsets(cursor.image),
            first=_all_colours(net.first, net.colours),
            inputs=_stack(by_map(layer.inputs.masked())[..., 0, -1].mT for layer in net.layers),
            bias=_stack(by_map(bias.unsqueeze(-1)).mT for bias in biases),
            left=_stack(pair.left for pair in neighbours),
            above=_stack(pair.above for pair in neighbours),
            up=torch.stack([up.weight for up in ups]),
            up_bias=torch.stack([up.bias for up in ups]).unsqueeze(1),
            hidden=_stack(layer.states.hidden for layer in net.layers),
            cell=_stack(layer.states.cell for layer in net.layers),
            head_in=_all_colours(net.head_in, net.colours),
            head=_all_colours(net.head, net.colours),
            last=[net.last.step_weights(colour) for colour in range(net.colours)],
        )


class Features(NamedTuple):
    """Features of the current row and of the row above, (layers, columns, N, features).

    ``stream``, ``hidden`` and ``cells`` have a column of padding on the left, the latter two also
    on the right.

    Attributes:
        stream: Inputs of each layer.
        hidden: Hidden states.
        cells: Cells.
        gates: Term of the row above in the gates, and the bias.
        residual: Term of the row above in the stream, and the bias.
        above: Cells of the row above, or hidden states of the map from right to left.
        context: Term of the context in the gates of all pixels, (maps, layers, rows, columns, N, 4
            width), if there is a context.
    """

    stream: Tensor
    hidden: Tensor
    cells: Tensor
    gates: Tensor
    residual: Tensor
    above: Tensor
    context: Tensor | None

    @classmethod
    def of(
        cls,
        net: PixelRNN,
        cursor: Cursor,
        weights: Weights,
        context: Tensor | None,
    ) -> Features:
        """Return the features before the first row."""
        n = len(cursor.image)

        def filled(columns: int, values: Tensor) -> Tensor:
            return values[:, None, None].expand(-1, columns, n, -1).clone()

        nothing = torch.zeros_like(weights.inputs[0, ..., 0])
        return cls(
            stream=filled(net.width + 1, nothing),
            hidden=filled(net.width + 2, weights.hidden[0]),
            cells=filled(net.width + 2, weights.cell[0]),
            gates=filled(net.width, weights.bias[0, :, 0]),
            residual=filled(net.width, weights.up_bias[:, 0]),
            above=filled(net.width, weights.hidden[-1]),
            context=_context_of_pixels(net, context),
        )

    def add_context(self, gates: Tensor, of_map: int, row: Tensor) -> None:
        """Add the context of a row to the gates of all layers, (layers, columns, N, 4 width)."""
        if self.context is not None:
            gates.add_(self.context[of_map].index_select(1, row).squeeze(1))


def site_params(
    colour: int,
    cursor: Cursor,
    weights: Weights,
    features: Features,
    left: Tensor,
    cells: Tensor,
) -> Tensor:
    """Return the parameters of the site with this colour at the cursor, (N, num_params).

    Args:
        colour: Colour of the site.
        cursor: Position of the pixel.
        weights: Weights of the network.
        features: Written at the column of the pixel.
        left: Features of the pixel on the left, which add to the gates.
        cells: Cells before the pixel.
    """
    window = gather_window(cursor.image, weights.image_offsets + cursor.column)
    x = weights.first(window)

    left, before, gates, residual = (
        part.index_select(1, cursor.column).squeeze(1)
        for part in (left, cells, features.gates, features.residual)
    )
    gates = torch.baddbmm(gates, left, weights.left[0])

    streams, states, new_cells = [], [], []
    layers = zip(
        gates,
        before,
        residual,
        weights.inputs[0],
        weights.up,
        strict=True,
    )
    for a, cell, rest, inputs, up in layers:
        # h, c = LSTM(a + W_is x, c)
        hidden, cell = lstm_cell(torch.addmm(a, x, inputs), cell)
        streams.append(x)
        states.append(hidden)
        new_cells.append(cell)

        # x' = x + W_up h, to which the row above may add
        x = torch.addmm(x + rest, hidden, up)

    written = cursor.column + 1  # behind one column of padding
    buffers = features.stream, features.hidden, features.cells
    for buffer, values in zip(buffers, (streams, states, new_cells), strict=True):
        buffer.index_copy_(1, written, torch.stack(values).unsqueeze(1))

    for layer in (weights.head_in, weights.head, weights.last[colour]):
        x = layer(x.relu())
    return x


def _context_of_pixels(net: PixelRNN, context: Tensor | None) -> Tensor | None:
    """Return the term of the context in the gates of all layers; see `Features`."""
    if context is None:
        return None
    gates = [net.context_gates(layer, context) for layer in net.layers]
    by_layer = torch.stack([part for part in gates if part is not None])

    # (layers, maps, 4 width, rows, columns, N)
    by_pixel = by_layer.unflatten(2, (net.height, net.width)).unflatten(1, (net.maps, -1))
    return by_pixel.permute(1, 0, 3, 4, 5, 2).contiguous()


def _stack(tensors: Iterable[Tensor]) -> Tensor:
    """Stack the tensors of all layers behind the dimension of the maps."""
    return torch.stack(list(tensors), dim=1)


def _all_colours(layer: MaskedConv2d, colours: int) -> StepWeights:
    """Return the weights of all output channels of a convolution, colour by colour."""
    parts = [layer.step_weights(colour) for colour in range(colours)]
    bias = torch.cat([part.bias for part in parts])
    return StepWeights(bias, torch.cat([part.weight for part in parts], dim=1))
