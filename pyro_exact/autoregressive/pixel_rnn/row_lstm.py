"""Row LSTM: LSTM layers that scan an image row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.net import LSTMLayer, PixelRNN, bias_column
from pyro_exact.autoregressive.pixel_rnn.row_lstm_cache import RowLSTMCache
from pyro_exact.likelihoods.names import AnyLikelihood


class RowLSTM(PixelRNN):
    r"""A PixelRNN whose LSTMs scan an image row by row. Use it for small images.

    .. math::
        [o, f, i, g] = [\sigma, \sigma, \sigma, \tanh]
            (K^{ss}_3 * h_{r-1} + K^{is}_3 * x_r), \qquad
        c_r = f \odot c_{r-1} + i \odot g, \qquad h_r = o \odot \tanh c_r

    for each row r, where the convolution of the inputs has mask B, and the convolution of the
    states sees three pixels of the row above. A 7x7 convolution with mask A comes before the
    layers, and three 1x1 convolutions, each after a ReLU, come last.

    A pixel sees a **triangle**: j rows above it, j + 2 columns on the right, however deep the
    network is, and j + 3 columns on the left, plus a column for each layer.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; two make bits.
        width: Size of the state of an LSTM; the stream between the layers has twice as many
            channels.
        depth: LSTM layers of the network.
        head_width: Channels of the two convolutions before the last; the paper uses 1024 for
            colours, 32 for bits.
        likelihood: Distribution of a site, as an object or by name; the default is Bernoulli for
            two levels, otherwise categorical.
        context_shape: Size of a context vector, or shape of a context map (channels, H, W), which
            adds to the gates of all layers; by default no context.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, \*grid,
          likelihood.num_params), where the grid is (C, H, W), or (H, W) if a site is a pixel.

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
        levels: int | None = 256,
        width: int = 128,
        depth: int = 12,
        head_width: int = 1024,
        likelihood: AnyLikelihood | None = None,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            shape,
            levels,
            width,
            depth,
            head_width,
            likelihood,
            context_shape,
            kernel_size=3,
            taps=3,
        )

    def scan_order(self) -> Tensor:
        return torch.arange(self.height * self.width)

    def scan(
        self,
        layer: LSTMLayer,
        x: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        # W_is * x: the mask leaves the pixel on the left and the pixel itself.
        rows = x.unflatten(1, (self.height, self.width))
        left = F.pad(rows[:, :, :-1], (0, 0, 1, 0))
        of_left, of_pixel = layer.inputs.masked().squeeze(2).unbind(-1)
        gates = torch.addmm(bias_column(layer.inputs), of_left, left.flatten(1))
        gates = gates.addmm(of_pixel, x.flatten(1))
        if context is not None:
            gates = gates + context.flatten(1)

        # Each step updates a whole row.
        windows = [(0, self.width)] * self.height
        hidden: Tensor = layer.states(gates.unflatten(1, x.shape[1:])[None], windows)
        return hidden.squeeze(0)

    def init_cache(
        self,
        cursor: Cursor,
        context: Tensor | None,
    ) -> RowLSTMCache:
        return RowLSTMCache.of(self, cursor, context)
