"""The steps of Row LSTM."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.cache import Features, Neighbours, Weights, site_params

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_rnn.row_lstm import RowLSTM


class RowLSTMCache(NamedTuple):
    """Tensors used by the steps of Row LSTM; ``features.above`` are the cells of the row above."""

    weights: Weights
    features: Features

    @classmethod
    def of(
        cls,
        net: RowLSTM,
        cursor: Cursor,
        context: Tensor | None,
    ) -> RowLSTMCache:
        """Return the cache before the first pixel."""
        neighbours = []
        for layer in net.layers:
            left = layer.inputs.masked()[None, ..., 0, 0].mT  # of the stream
            above = layer.states.weight.permute(0, 3, 2, 1).flatten(1, 2)  # of three hidden states
            neighbours.append(Neighbours(left, above))

        weights = Weights.of(net, cursor, neighbours)
        return cls(weights, Features.of(net, cursor, weights, context))

    def start_row(self, cursor: Cursor) -> None:
        """Compute the term of the row above in the gates of a new row, for all layers at once."""
        weights, features = self.weights, self.features
        hidden = features.hidden
        three = torch.cat((hidden[:, :-2], hidden[:, 1:-1], hidden[:, 2:]), dim=-1)

        # a = b + W_ss * h of the row above
        gates = torch.baddbmm(weights.bias[0], three.flatten(1, 2), weights.above[0])
        features.gates.copy_(gates.view_as(features.gates))
        features.add_context(features.gates, 0, cursor.row)
        features.above.copy_(features.cells[:, 1:-1])

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
            left=features.stream,
            cells=features.above,
        )
