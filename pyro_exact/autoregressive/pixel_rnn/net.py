"""What the recurrent networks of images share: all but the way in which their LSTM layers sweep an image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.autoregressive.pixel_rnn.conv_lstm import SweptLSTM, lstm_cell
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn import line_buffer
from pyro_exact.nn.masked_convolution import MaskedConv2d, Prepared, groups


class PixelRNN(PixelNet):
    r"""LSTM layers over an image, with residual connections.

    .. math::
        x^0 = \mathrm{conv}^A_{7 \times 7}(x), \qquad x^l = x^{l-1} + \mathrm{conv}^B_{1 \times
        1}(h^l), \qquad \theta = (\mathrm{conv}^B_{1 \times 1} \circ \mathrm{relu})^3 (x^L)

    where :math:`h^l` are the hidden states of an LSTM whose inputs are :math:`x^{l-1}`. Outside the
    image all states are the initial ones, which each layer learns.

    Inside, maps have the layout (channels, places, N), with the places in the order in which the
    LSTMs sweep over them. A step computes a pixel anew for each of its colours: the masks keep what
    is known of it from what is not.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels.
        width: Size of the state of an LSTM; the stream between the layers has twice as many
            channels.
        depth: Number of LSTM layers.
        head_width: Channels of the two convolutions before the last.
        kernel: Width of the convolution of the inputs of an LSTM.
        taps: Places that the convolution of its states sees.
        maps: Number of maps that it sweeps in one loop.
    """

    places: Tensor
    rows, columns = 4, 3

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        width: int,
        depth: int,
        head_width: int,
        *,
        kernel: int,
        taps: int,
        maps: int = 1,
    ) -> None:
        super().__init__(shape, levels)
        depth = check_size(type(self).__name__, "depth", depth, most=LARGEST_COUNT)
        width = check_size(type(self).__name__, "width", width)
        image, narrow, stream, last = (
            groups(n, self.colours) for n in (self.colours, width, 2 * width, head_width)
        )
        self.maps = maps
        self.first = MaskedConv2d(image, stream, (7, 7), strict=True)
        self.layers: Sequence[Layer] = nn.ModuleList(  # type: ignore[assignment]
            Layer(narrow, stream, kernel, taps, maps) for _ in range(depth)
        )
        self.head: Sequence[MaskedConv2d] = nn.ModuleList(  # type: ignore[assignment]
            [MaskedConv2d(stream, last), MaskedConv2d(last, last)]
        )
        self.last = MaskedConv2d(last, image.repeat_interleave(self.likelihood.num_params))
        self.register_buffer("places", self.swept_places(), persistent=False)

    @abstractmethod
    def swept_places(self) -> Tensor:
        """Return the numbers of the pixels in the order in which the LSTMs sweep over them, (H * W)."""

    @abstractmethod
    def sweep(self, layer: Layer, x: Tensor) -> Tensor:
        """Return the hidden states of a layer, (units, H * W, N), from its inputs, (2 units, H * W, N)."""

    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        with torch.autocast(
            images.device.type, enabled=False
        ):  # the states of a long recurrence need float32
            x: Tensor = self.first(images).flatten(2).permute(1, 2, 0).index_select(1, self.places)
            for layer in self.layers:
                x = x + pointwise(layer.up, self.sweep(layer, x))
            for conv in (*self.head, self.last):
                x = pointwise(conv, x.relu())
            x = x.index_select(1, self.places.argsort())
        return x.permute(2, 0, 1).unflatten(-1, (self.height, self.width))

    # Steps
    # ------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def neighbours(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Return what the gates make of the pixel on the left and of the row above, (maps, features, 4 units)."""

    @abstractmethod
    def left(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return what a pixel takes from the one on the left, and the cells before its own, in its column."""

    def memory(self, cursor: Cursor, context: Tensor | None) -> Memory:
        weights, n = self._weights(cursor), len(cursor.image)

        def filled(columns: int, values: Tensor) -> Tensor:
            return values[:, None, None].expand(-1, columns, n, -1).clone()

        return Memory(
            weights,
            stream=filled(self.width + 1, torch.zeros_like(weights.inputs[0, ..., 0])),
            hidden=filled(self.width + 2, weights.hidden[0]),
            cells=filled(self.width + 2, weights.cell[0]),
            gates=filled(self.width, weights.bias[0, :, 0]),
            residual=filled(self.width, weights.up_bias[:, 0]),
            above=filled(self.width, weights.hidden[-1]),
        )

    def number(self, colour: int, cursor: Cursor, memory: Memory) -> Tensor:
        weights, step = memory.weights, MaskedConv2d.step
        x = step(line_buffer.window(cursor.image, weights.taps + cursor.column), weights.first)
        left, cells, gates, residual = (
            values.index_select(1, cursor.column).squeeze(1)
            for values in (*self.left(memory), memory.gates, memory.residual)
        )
        gates = torch.baddbmm(gates, left, weights.left[0])
        new = []
        for a, cell, rest, inputs, up in zip(
            gates, cells, residual, weights.inputs[0], weights.up, strict=True
        ):
            hidden, cell = lstm_cell(torch.addmm(a, x, inputs), cell)
            new.append((x, hidden, cell))
            x = torch.addmm(x + rest, hidden, up)
        for values, buffer in zip(
            zip(*new, strict=True), (memory.stream, memory.hidden, memory.cells), strict=True
        ):
            buffer.index_copy_(1, cursor.column + 1, torch.stack(values).unsqueeze(1))
        for prepared in (*weights.head, weights.last[colour]):
            x = step(x.relu(), prepared)
        return x

    def _weights(self, cursor: Cursor) -> Weights:
        """Return the weights of a step, masked and stacked over the layers."""

        def stacked(tensors: Iterable[Tensor]) -> Tensor:
            return torch.stack(list(tensors), dim=1)

        def by_map(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (self.maps, -1))

        def whole(layer: MaskedConv2d) -> Prepared:
            biases, weights = zip(
                *(layer.prepare(colour) for colour in range(self.colours)), strict=True
            )
            return torch.cat(biases), torch.cat(weights, dim=1)

        left, above = zip(*(self.neighbours(layer) for layer in self.layers), strict=True)
        up_bias, up = zip(*(whole(layer.up) for layer in self.layers), strict=True)
        return Weights(
            taps=self.first.taps(cursor.image),
            first=whole(self.first),
            inputs=stacked(by_map(layer.inputs.masked())[..., 0, -1].mT for layer in self.layers),
            bias=stacked(by_map(bias(layer.inputs)).mT for layer in self.layers),
            left=stacked(left),
            above=stacked(above),
            up=torch.stack(up),
            up_bias=torch.stack(up_bias).unsqueeze(1),
            hidden=stacked(layer.states.hidden for layer in self.layers),
            cell=stacked(layer.states.cell for layer in self.layers),
            head=[whole(layer) for layer in self.head],
            last=[self.last.prepare(colour) for colour in range(self.colours)],
        )

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


class Layer(nn.Module):
    """An LSTM: what its inputs add to the gates, its states, and the way back up to the stream."""

    def __init__(self, narrow: Tensor, stream: Tensor, kernel: int, taps: int, maps: int) -> None:
        super().__init__()
        self.inputs = MaskedConv2d(stream, narrow.repeat(4 * maps), (1, kernel))
        self.states = SweptLSTM(len(narrow), taps, maps)
        self.up = MaskedConv2d(narrow, stream)


class Weights(NamedTuple):
    """What a step multiplies with; stacked over maps and layers, (maps, layers, ...), or over layers alone."""

    taps: Tensor
    first: Prepared
    inputs: Tensor
    bias: Tensor
    left: Tensor
    above: Tensor
    up: Tensor
    up_bias: Tensor
    hidden: Tensor
    cell: Tensor
    head: list[Prepared]
    last: list[Prepared]


class Memory(NamedTuple):
    """What later pixels need of a row, and of the one above: (layers, columns, N, features).

    ``stream``, ``hidden`` and ``cells`` have a column of padding on the left, the latter two on the
    right as well.
    """

    weights: Weights
    stream: Tensor  # what goes into each layer
    hidden: Tensor
    cells: Tensor
    gates: Tensor  # what the row above adds to the gates, and the bias
    residual: Tensor  # what the row above adds to the stream, and the bias
    above: Tensor  # the cells of the row above, or the hidden states of its map from right to left


def pointwise(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """Return a 1x1 convolution of a map of the layout (channels, places, N)."""
    y = torch.addmm(bias(layer), layer.masked().flatten(1), x.flatten(1))
    return y.unflatten(1, x.shape[1:])


def bias(layer: MaskedConv2d) -> Tensor:
    """Return the bias of a convolution that has one, as a column: (channels, 1)."""
    return layer.bias.unsqueeze(-1)  # type: ignore[union-attr]
