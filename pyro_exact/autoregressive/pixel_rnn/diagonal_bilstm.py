"""The Diagonal BiLSTM: LSTM layers that sweep an image diagonal by diagonal, from both upper corners."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.conv_lstm import lstm_cell
from pyro_exact.autoregressive.pixel_rnn.net import Layer, Memory, PixelRNN, bias


class DiagonalBiLSTM(PixelRNN):
    r"""PixelRNN with LSTMs that take a diagonal of the image at a step, in two directions.

    .. math::
        [o, f, i, g]_{rc} = [\sigma, \sigma, \sigma, \tanh]
            (K^{ss}_{\mathrm{up}} h_{r-1, c} + K^{ss}_{\mathrm{side}} h_{r, c-1} + K^{is} x_{rc}),
            \qquad
        c_{rc} = f \odot c_{r, c-1} + i \odot g, \qquad h_{rc} = o \odot \tanh c_{rc}

    from the left, and mirrored from the right. The states from the right see what a pixel must not:
    they move down one row before both are added, :math:`h_{rc} = h^{\mathrm{left}}_{rc} +
    h^{\mathrm{right}}_{r-1, c}`. A 7x7 convolution with mask A comes before the layers, three 1x1
    convolutions after ReLUs come behind them.

    A pixel sees every pixel before it but one: the last of the row above is seen by the four last
    pixels of a row, through the 7x7 convolution, and by none that is further on the left.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels; two make bits.
        width: Size of the state of an LSTM, h; the stream between the layers has 2h channels.
        depth: Number of LSTM layers.
        head_width: Channels of the two convolutions before the last; the paper has 1024 for colours, 32
            for bits.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, C, H, W,
          likelihood.num_params).

    Raises:
        ValueError: If the shape is not that of images, there are fewer than two levels, no layer,
            or a layer has fewer channels than the image.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        3.2, figure 3 and table 1.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(DiagonalBiLSTM((1, 8, 8), levels=2, width=3, depth=2, head_width=6))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    mirror: Tensor
    from_above: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        width: int = 128,
        depth: int = 12,
        head_width: int = 1024,
    ) -> None:
        super().__init__(shape, levels, width, depth, head_width, kernel=1, taps=2, maps=2)
        row, column = self.places // self.width, self.places % self.width
        place = self.places.argsort().view(self.height, self.width)
        mirrored = self.width - 1 - column
        # The place behind the last one stands for what is outside the image.
        from_above = place[row - 1, mirrored].where(row > 0, self.height * self.width)
        self.register_buffer("mirror", place[row, mirrored], persistent=False)
        self.register_buffer("from_above", from_above, persistent=False)
        diagonals = range(self.height + self.width - 1)
        self.windows = [(max(0, k - self.width + 1), min(self.height, k + 1)) for k in diagonals]

    def swept_places(self) -> Tensor:
        row, column = torch.arange(self.height)[:, None], torch.arange(self.width)
        return ((row + column) * self.height + row).flatten().argsort()

    def sweep(self, layer: Layer, x: Tensor) -> Tensor:
        both = torch.stack((x, x.index_select(1, self.mirror)))
        weight, constant = (
            layer.inputs.masked().view(2, -1, len(x)),
            bias(layer.inputs).view(2, -1, 1),
        )
        gates = torch.baddbmm(constant, weight, both.flatten(2)).unflatten(-1, x.shape[1:])
        left, right = layer.states(gates, self.windows)
        outside = layer.states.hidden[1, :, None, None].expand(-1, 1, x.shape[-1])
        return left + torch.cat((right, outside), dim=1).index_select(1, self.from_above)

    def neighbours(self, layer: Layer) -> tuple[Tensor, Tensor]:
        above, left = layer.states.weight.transpose(1, 2).unbind(-1)
        return left, above

    def left(self, memory: Memory) -> tuple[Tensor, Tensor]:
        return memory.hidden, memory.cells

    def begin_row(self, cursor: Cursor, memory: Memory) -> None:
        weights = memory.weights
        memory.above.copy_(self._from_the_right(memory).where(cursor.row > 0, memory.above))
        hidden = memory.hidden[:, 1:-1].flatten(1, 2)
        memory.gates.copy_(
            torch.baddbmm(weights.bias[0], hidden, weights.above[0]).view_as(memory.gates)
        )
        residual = torch.baddbmm(weights.up_bias, memory.above.flatten(1, 2), weights.up)
        memory.residual.copy_(residual.view_as(memory.residual))

    def _from_the_right(self, memory: Memory) -> Tensor:
        """Return the hidden states of the row that is complete, from right to left, of all layers at once."""
        weights, stream, above = (
            memory.weights,
            memory.stream[:, 1:].flatten(1, 2),
            memory.above.flatten(1, 2),
        )
        gates = torch.baddbmm(weights.bias[1], stream, weights.inputs[1]).baddbmm(
            above, weights.above[1]
        )
        gates = gates.view_as(memory.gates)
        hidden, cell = (
            state[1, :, None].expand(-1, gates.shape[2], -1)
            for state in (weights.hidden, weights.cell)
        )
        states = []
        for column in reversed(range(self.width)):
            hidden, cell = lstm_cell(torch.baddbmm(gates[:, column], hidden, weights.left[1]), cell)
            states.append(hidden)
        return torch.stack(states[::-1], dim=1)
