"""Diagonal BiLSTM: LSTM layers that scan an image along the diagonals, from both upper corners."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.autoregressive.pixel_rnn.diagonal_bilstm_cache import DiagonalBiLSTMCache
from pyro_exact.autoregressive.pixel_rnn.net import LSTMLayer, PixelRNN, bias_column
from pyro_exact.likelihoods.names import AnyLikelihood


class DiagonalBiLSTM(PixelRNN):
    r"""A PixelRNN whose LSTMs scan an image along the diagonals. Use it for small images.

    .. math::
        [o, f, i, g]_{rc} = [\sigma, \sigma, \sigma, \tanh]
            (K^{ss}_{\mathrm{up}} h_{r-1, c} + K^{ss}_{\mathrm{side}} h_{r, c-1} + K^{is} x_{rc}),
            \qquad
        c_{rc} = f \odot c_{r, c-1} + i \odot g, \qquad h_{rc} = o \odot \tanh c_{rc}

    from the left, and mirrored from the right. The states from the right see pixels that a pixel
    must not see, so they are moved down by a row before both are added,
    :math:`h_{rc} = h^{\mathrm{left}}_{rc} + h^{\mathrm{right}}_{r-1, c}`. A 7x7 convolution with
    mask A comes before the layers, and three 1x1 convolutions, each after a ReLU, come last.

    A pixel sees all earlier pixels with a single exception: the last pixel of the row above is seen
    by the last four pixels of a row, through the 7x7 convolution, and by no pixel further on the
    left.

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
            kernel_size=1,
            taps=2,
            maps=2,
        )
        row, column = self.places // self.width, self.places % self.width
        place = self.places.argsort().view(self.height, self.width)
        mirrored = self.width - 1 - column

        # The mirrored place of each place, and the one above it in the map from the right. The
        # place behind the last one stands for everything outside of the image.
        outside = self.height * self.width
        from_above = place[row - 1, mirrored].where(row > 0, outside)
        self.register_buffer("mirror", place[row, mirrored], persistent=False)
        self.register_buffer("from_above", from_above, persistent=False)

        # Step k updates the rows that diagonal k crosses.
        diagonals = range(self.height + self.width - 1)
        self.windows = [(max(0, k - self.width + 1), min(self.height, k + 1)) for k in diagonals]

    def scan_order(self) -> Tensor:
        row, column = torch.arange(self.height)[:, None], torch.arange(self.width)
        diagonal = row + column
        return (diagonal * self.height + row).flatten().argsort()

    def scan(
        self,
        layer: LSTMLayer,
        x: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        # W_is * x, for the map from the left and the mirrored map
        both = torch.stack((x, x.index_select(1, self.mirror)))
        weight = layer.inputs.masked().view(2, -1, len(x))
        bias = bias_column(layer.inputs).view(2, -1, 1)
        gates = torch.baddbmm(bias, weight, both.flatten(2)).unflatten(-1, x.shape[1:])
        if context is not None:
            of_left, of_right = context.chunk(2)
            gates = gates + torch.stack((of_left, of_right.index_select(1, self.mirror)))
        left, right = layer.states(gates, self.windows)

        # h = h_left + h_right of the row above
        outside = layer.states.hidden[1, :, None, None].expand(-1, 1, x.shape[-1])
        right = torch.cat((right, outside), dim=1)
        return left + right.index_select(1, self.from_above)

    def init_cache(
        self,
        cursor: Cursor,
        context: Tensor | None,
    ) -> DiagonalBiLSTMCache:
        return DiagonalBiLSTMCache.of(self, cursor, context)
