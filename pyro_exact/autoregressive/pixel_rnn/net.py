"""The base class of recurrent networks of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_net import PixelNet
from pyro_exact.autoregressive.pixel_rnn.conv_lstm import ConvLSTM
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.nn.masked_convolution import MaskedConv2d, groups


class PixelRNN(PixelNet):
    r"""The base class of `RowLSTM` and `DiagonalBiLSTM`: LSTM layers with residual connections.

    .. math::
        x^0 = \mathrm{conv}^A_{7 \times 7}(x), \qquad x^l = x^{l-1} + \mathrm{conv}^B_{1 \times
        1}(h^l), \qquad \theta = (\mathrm{conv}^B_{1 \times 1} \circ \mathrm{relu})^3 (x^L)

    where :math:`h^l` are the hidden states of an LSTM with inputs :math:`x^{l-1}`. Outside of the
    image all states are initial states, which each layer learns. Inside this network maps have the
    layout (channels, places, N), with the places in the order of the scan.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; use `None` for real data, when the likelihood must be given.
        width: Size of the state of an LSTM; the stream between the layers has twice as many
            channels.
        depth: LSTM layers of the network.
        head_width: Channels of the two convolutions before the last.
        likelihood: Distribution of a site, as an object or by name; the default is Bernoulli for
            two levels, otherwise categorical.
        context_shape: Size of a context vector, or shape of a context map (channels, H, W), which
            adds to the gates of all layers.
        kernel_size: Width of the convolution of the inputs of an LSTM.
        taps: Cells used by the convolution of the states of an LSTM.
        maps: Maps that are scanned in one loop.
    """

    places: Tensor
    image_rows, image_padding = 4, 3  # the first kernel is 7x7

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None,
        width: int,
        depth: int,
        head_width: int,
        likelihood: AnyLikelihood | None,
        context_shape: int | Sequence[int] | None = None,
        *,
        kernel_size: int,
        taps: int,
        maps: int = 1,
    ) -> None:
        super().__init__(shape, levels, context_shape, likelihood)
        name = type(self).__name__
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        width = check_size(name, "width", width)
        self.maps = maps
        context_channels = self.context_channels()

        image = groups(self.channels, self.colours)
        narrow = groups(width, self.colours)
        stream = groups(2 * width, self.colours)
        head = groups(head_width, self.colours)
        params = torch.arange(self.colours).repeat_interleave(self.likelihood.num_params)

        self.first = MaskedConv2d(image, stream, (7, 7), strict=True)
        layers = [
            LSTMLayer(
                narrow,
                stream,
                kernel_size,
                taps,
                maps,
                context_channels,
            )
            for _ in range(depth)
        ]
        self.layers: Sequence[LSTMLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.head_in = MaskedConv2d(stream, head)
        self.head = MaskedConv2d(head, head)
        self.last = MaskedConv2d(head, params)
        self.register_buffer("places", self.scan_order(), persistent=False)

    @abstractmethod
    def scan_order(self) -> Tensor:
        """Return the indices of the pixels in the order of the scan, (H * W)."""

    @abstractmethod
    def scan(
        self,
        layer: LSTMLayer,
        x: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        """Return hidden states, (width, H * W, N).

        Args:
            layer: The layer.
            x: Inputs, (2 width, H * W, N).
            context: Term of the context in the gates, (maps * 4 width, H * W, N).
        """

    def theta(
        self,
        images: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        # The states of a long recurrence need float32.
        with torch.autocast(images.device.type, enabled=False):
            # x^0, as (channels, places, N)
            first: Tensor = self.first(images).flatten(2)
            x = first.permute(1, 2, 0).index_select(1, self.places)

            for layer in self.layers:
                added = self.context_gates(layer, context)
                if added is not None:
                    added = added.index_select(1, self.places)
                h = self.scan(layer, x, added)
                x = x + pointwise(layer.up, h)

            for conv in (self.head_in, self.head, self.last):
                x = pointwise(conv, x.relu())
            x = x.index_select(1, self.places.argsort())

        return x.permute(2, 0, 1).unflatten(-1, (self.height, self.width))

    def context_gates(self, layer: LSTMLayer, context: Tensor | None) -> Tensor | None:
        """Return the term of the context in the gates of a layer, (maps * 4 width, H * W, N)."""
        if layer.context is None or context is None:
            return None
        gates = layer.context(context).expand(-1, -1, self.height, self.width)
        return gates.flatten(2).permute(1, 2, 0)


class LSTMLayer(nn.Module):
    """A layer of a PixelRNN: the convolution of the inputs, the LSTM, and a 1x1 convolution.

    Args:
        narrow: Colour of each element of the state.
        stream: Colour of each channel of the stream between the layers.
        kernel_size: Width of the convolution of the inputs.
        taps: Cells used by the convolution of the states.
        maps: Maps that are scanned in one loop.
        context_channels: Channels of the context; `None` without a context.
    """

    def __init__(
        self,
        narrow: Tensor,
        stream: Tensor,
        kernel_size: int,
        taps: int,
        maps: int,
        context_channels: int | None,
    ) -> None:
        super().__init__()
        gates = narrow.repeat(4 * maps)
        self.inputs = MaskedConv2d(stream, gates, (1, kernel_size))
        self.states = ConvLSTM(len(narrow), taps, maps)
        self.up = MaskedConv2d(narrow, stream)
        self.context: nn.Conv2d | None = None
        if context_channels is not None:
            self.context = nn.Conv2d(context_channels, len(gates), 1, bias=False)


def pointwise(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution to a map of the layout (channels, places, N)."""
    y = torch.addmm(bias_column(layer), layer.masked().flatten(1), x.flatten(1))
    return y.unflatten(1, x.shape[1:])


def bias_column(layer: MaskedConv2d) -> Tensor:
    """Return the bias of a convolution as a column, (channels, 1)."""
    return layer.bias.unsqueeze(-1)  # type: ignore[union-attr]
