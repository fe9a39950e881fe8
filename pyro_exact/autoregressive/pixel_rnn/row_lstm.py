"""The Row LSTM: LSTM layers that sweep an image row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.net import Layer, Memory, PixelRNN, bias


class RowLSTM(PixelRNN):
    r"""PixelRNN with LSTMs that take a row of the image at a step.

    .. math::
        [o, f, i, g] = [\sigma, \sigma, \sigma, \tanh]
            (K^{ss}_3 * h_{r-1} + K^{is}_3 * x_r), \qquad
        c_r = f \odot c_{r-1} + i \odot g, \qquad h_r = o \odot \tanh c_r

    for each row r, where the convolution of the inputs has mask B, and that of the states sees
    three pixels of the row above. A 7x7 convolution with mask A comes before the layers, three 1x1
    convolutions after ReLUs come behind them.

    It sees a **triangle**: j rows above a pixel it sees as many columns on the right as j + 2,
    however deep it is, and on the left as many as j + 3 and one for each layer.

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
        3.1, equation 3 and table 1.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(RowLSTM((3, 8, 8), levels=4, width=3, depth=2, head_width=6))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        width: int = 128,
        depth: int = 12,
        head_width: int = 1024,
    ) -> None:
        super().__init__(shape, levels, width, depth, head_width, kernel=3, taps=3)

    def swept_places(self) -> Tensor:
        return torch.arange(self.height * self.width)

    def sweep(self, layer: Layer, x: Tensor) -> Tensor:
        rows = x.unflatten(1, (self.height, self.width))
        left = F.pad(rows[:, :, :-1], (0, 0, 1, 0))
        of_left, of_pixel = layer.inputs.masked().squeeze(2).unbind(-1)
        gates = torch.addmm(bias(layer.inputs), of_left, left.flatten(1)).addmm(
            of_pixel, x.flatten(1)
        )
        hidden: Tensor = layer.states(
            gates.unflatten(1, x.shape[1:])[None], [(0, self.width)] * self.height
        )
        return hidden.squeeze(0)

    def neighbours(self, layer: Layer) -> tuple[Tensor, Tensor]:
        left = layer.inputs.masked()[None, ..., 0, 0].mT
        return left, layer.states.weight.permute(0, 3, 2, 1).flatten(1, 2)

    def left(self, memory: Memory) -> tuple[Tensor, Tensor]:
        return memory.stream, memory.above

    def begin_row(self, cursor: Cursor, memory: Memory) -> None:
        hidden, weights = memory.hidden, memory.weights
        seen = torch.cat((hidden[:, :-2], hidden[:, 1:-1], hidden[:, 2:]), dim=-1).flatten(1, 2)
        memory.gates.copy_(
            torch.baddbmm(weights.bias[0], seen, weights.above[0]).view_as(memory.gates)
        )
        memory.above.copy_(memory.cells[:, 1:-1])
