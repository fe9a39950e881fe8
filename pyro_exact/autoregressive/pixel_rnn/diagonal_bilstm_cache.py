"""The steps of Diagonal BiLSTM.

A step computes the map from the left for one pixel. The map from the right, of all layers at
once, is computed when a row is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.cache import Features, Neighbours, Weights, site_params
from pyro_exact.ops.conv_lstm_scan import lstm_cell

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_rnn.diagonal_bilstm import DiagonalBiLSTM


class DiagonalBiLSTMCache(NamedTuple):
    """Tensors that the steps of Diagonal BiLSTM read and write.

    ``features.above`` holds the hidden states of the row above in the map from the right.
    """

    weights: Weights
    features: Features

    @classmethod
    def of(
        cls,
        net: DiagonalBiLSTM,
        cursor: Cursor,
        context: Tensor | None,
    ) -> DiagonalBiLSTMCache:
        """Return the cache before the first pixel."""
        neighbours = []
        for layer in net.layers:
            # Of two taps the first one sees the cell of the row above, on the previous diagonal.
            above, left = layer.states.weight.transpose(1, 2).unbind(-1)
            neighbours.append(Neighbours(left, above))

        weights = Weights.of(net, cursor, neighbours)
        return cls(weights, Features.of(net, cursor, weights, context))

    def start_row(self, cursor: Cursor) -> None:
        """Compute the terms that the row above adds to the gates and to the stream of a new row."""
        weights, features = self.weights, self.features
        right = self._map_from_the_right(cursor)
        features.above.copy_(right.where(cursor.row > 0, features.above))

        # a = b + W_up h_left of the row above
        hidden = features.hidden[:, 1:-1].flatten(1, 2)
        gates = torch.baddbmm(weights.bias[0], hidden, weights.above[0])
        features.gates.copy_(gates.view_as(features.gates))
        features.add_context(features.gates, 0, cursor.row)

        # b + W h_right of the row above, which adds to the stream
        above = features.above.flatten(1, 2)
        residual = torch.baddbmm(weights.up_bias, above, weights.up)
        features.residual.copy_(residual.view_as(features.residual))

    def site_params(
        self,
        colour: int,
        cursor: Cursor,
    ) -> Tensor:
        """Return the parameters of the site with this colour at the cursor."""
        features = self.features
        return site_params(
            colour,
            cursor,
            self.weights,
            features,
            left=features.hidden,
            cells=features.cells,
        )

    def _map_from_the_right(self, cursor: Cursor) -> Tensor:
        """Return the hidden states of the complete row, scanned from the right, of all layers."""
        weights, features = self.weights, self.features
        stream, above = features.stream[:, 1:].flatten(1, 2), features.above.flatten(1, 2)

        # a = b + W_is x + W_up h_right of the row above
        gates = torch.baddbmm(weights.bias[1], stream, weights.inputs[1])
        gates = gates.baddbmm(above, weights.above[1]).view_as(features.gates)
        features.add_context(gates, 1, (cursor.row - 1).clamp_min(0))

        n, states = gates.shape[2], []
        hidden = weights.hidden[1, :, None].expand(-1, n, -1)
        cell = weights.cell[1, :, None].expand(-1, n, -1)
        for column in reversed(range(gates.shape[1])):
            # h, c = LSTM(a + W_side h, c)
            a = torch.baddbmm(gates[:, column], hidden, weights.left[1])
            hidden, cell = lstm_cell(a, cell)
            states.append(hidden)
        return torch.stack(states[::-1], dim=1)
