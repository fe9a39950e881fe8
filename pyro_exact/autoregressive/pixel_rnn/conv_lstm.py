"""A convolutional LSTM that is scanned over an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.checks import LARGEST_COUNT, check_elements, check_size
from pyro_exact.ops.conv_lstm_scan import Window, conv_lstm_scan


class ConvLSTM(nn.Module):
    r"""A row of convolutional LSTM cells. Use it to scan an image by rows or by diagonals.

    .. math::
        (o, f, i, g) = (\sigma, \sigma, \sigma, \tanh)(a_{tj} + \textstyle\sum_k W_k h_{t-1,
        j-1+k}), \qquad c_{tj} = f \odot c_{t-1, j} + i \odot g, \qquad h_{tj} = o \odot \tanh
        c_{tj}

    Each step updates a window of the cells; the remaining cells keep their state. Cells before the
    first step, and outside of the row, have the initial state, which is learned.

    Args:
        width: Size of the hidden state and of the cell.
        taps: Cells used by the convolution of the states: 2 for the previous cell and the cell
            itself, 3 for the next cell as well.
        maps: Maps that are scanned in one loop, each using other weights.

    Shape:
        - gates: (maps, 4 width, places, n), the terms of the inputs in o, f, i and g, with the
          places in the order of the steps; hidden states: (maps, width, places, n).

    Raises:
        ValueError: If a size is not positive, or there are other than 2 or 3 taps.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, equation
        3.

    Example:
        >>> lstm = ConvLSTM(width=3, taps=2)
        >>> lstm(torch.randn(1, 12, 4, 5), [(0, 1), (0, 2), (1, 2)]).shape
        torch.Size([1, 3, 4, 5])
    """

    def __init__(self, width: int, taps: int, maps: int = 1) -> None:
        super().__init__()
        width = check_size("ConvLSTM", "width", width)
        taps = check_size(
            "ConvLSTM",
            "taps",
            taps,
            least=2,
            most=3,
        )
        maps = check_size("ConvLSTM", "maps", maps, most=LARGEST_COUNT)
        check_elements(
            "ConvLSTM",
            maps,
            4 * width,
            width,
            taps,
        )

        bound = (width * taps) ** -0.5
        weight = torch.empty(maps, 4 * width, width, taps).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.hidden = nn.Parameter(torch.zeros(maps, width))
        self.cell = nn.Parameter(torch.zeros(maps, width))

    def forward(self, gates: Tensor, windows: Sequence[Window]) -> Tensor:
        """Return the hidden states; step t updates the cells in the range ``windows[t]``."""
        return conv_lstm_scan(
            gates,
            self.weight,
            self.hidden,
            self.cell,
            windows,
        )

    def extra_repr(self) -> str:
        maps, _, width, taps = self.weight.shape
        return f"{width}, taps={taps}, maps={maps}"
