"""The conditioner of Flow++: gated convolutions and attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_share, check_size, check_sizes
from pyro_exact.nn.attend import attend
from pyro_exact.nn.conditioner import Conditioner, required, split_params
from pyro_exact.nn.layout import channels_last
from pyro_exact.nn.precision import network_input, weight_of
from pyro_exact.nn.rescaled import RescaledConv2d, initialize_once
from pyro_exact.ops.concat_elu import concat_elu


class GatedConv(nn.Module):
    r"""A residual block of two convolutions whose output is gated, used by `AttentionConditioner`.

    .. math:: h = \phi(W \phi(x) + V \phi(c)), \qquad a, b = U h, \qquad y = x + a\, \sigma(b)

    where :math:`\phi` is `concat_elu`. The output is small at first, because :math:`U` has gain
    0.1.

    Args:
        width: Channels of input and output.
        context_channels: Channels of the optional context c, an image of the same size.
        kernel_size: Kernel size of U. W has size 3 and V has size 1.
        dropout: Share of the hidden elements that are dropped in training.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.3 and official code
        (`gated_conv`).
    """

    def __init__(
        self,
        width: int,
        context_channels: int | None = None,
        kernel_size: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = RescaledConv2d(2 * width, width, 3)
        self.context = (
            None if context_channels is None else RescaledConv2d(2 * context_channels, width, 1)
        )
        self.dropout = nn.Dropout(dropout)
        self.last = RescaledConv2d(2 * width, 2 * width, kernel_size, gain=0.1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the block's output."""
        h = self.first(concat_elu(x, dim=1))
        if self.context is not None and context is not None:
            h = h + self.context(concat_elu(context, dim=1))

        # y = x + a sigmoid(b) with a, b = U h
        h = self.dropout(concat_elu(h, dim=1))
        return x + F.glu(self.last(h), dim=1)


class GatedAttention(nn.Module):
    r"""A residual block of self-attention between all positions, whose output is gated.

    It is used by `AttentionConditioner`.

    Args:
        width: Channels of input and output, a multiple of ``heads``.
        heads: Attention heads.
        dropout: Share of the output of the attention that is dropped in training.

    Reference:
        Ho et al. (2019), Flow++, section 3.3 and official code (`gated_attn`).
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.first = RescaledConv2d(width, 3 * width, 1)
        self.dropout = nn.Dropout(dropout)
        self.last = RescaledConv2d(width, 2 * width, 1, gain=0.1)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Return the output of the block; ``position`` is added to the input of the attention."""
        parts = self.first(x + position).flatten(2)
        parts = parts.unflatten(1, (3, self.heads, -1)).transpose(-1, -2)

        # Each of shape (N, heads, positions, channels).
        query, key, value = parts.unbind(1)
        attended = attend(query, key, value)

        h = attended.transpose(-1, -2).reshape(x.shape)
        gated = self.last(self.dropout(h))

        return x + F.glu(gated, dim=1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an image, position by position."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised image."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class GatedBlock(nn.Module):
    """A gated convolution and a gated attention, each behind a `ChannelNorm`."""

    def __init__(
        self, width: int, heads: int, dropout: float, context_channels: int | None
    ) -> None:
        super().__init__()
        self.conv = GatedConv(width, context_channels, dropout=dropout)
        self.conv_norm = ChannelNorm(width)
        self.attention = GatedAttention(width, heads, dropout)
        self.attention_norm = ChannelNorm(width)

    def forward(self, x: Tensor, position: Tensor, context: Tensor | None) -> Tensor:
        """Return the block's output."""
        h = self.conv_norm(self.conv(x, context))
        return self.attention_norm(self.attention(h, position))


class AttentionConditioner(Conditioner):
    r"""The network that is used by the couplings of Flow++: a sequence of `GatedBlock` layers.

    A learned embedding of the positions enters every attention. `initialize` should be called once,
    using data: it rescales all convolutions.

    Args:
        in_channels: Channels of the fixed part.
        out_channels: Channels of the free part.
        num_params: Parameters that the formula uses for each element.
        size: (H, W) of both parts.
        width: Hidden channels; must be a multiple of ``heads``.
        depth: Blocks of the network.
        heads: Attention heads.
        dropout: Share of hidden elements that are dropped in training.
        context_channels: Channels of an optional context image of the same size, used by every
            gated convolution.

    Shape:
        - x: (\*batch, in_channels, H, W); context: (\*batch, context_channels, H, W).
        - theta: (\*batch, out_channels, H, W, num_params).

    Raises:
        ValueError: If the width is not a multiple of the heads.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.3 and official code
        (`MixLogisticAttnCoupling`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        size: tuple[int, int],
        width: int = 96,
        depth: int = 10,
        heads: int = 4,
        dropout: float = 0.2,
        context_channels: int | None = None,
    ) -> None:
        name = "AttentionConditioner"
        width = check_size(name, "width", width)
        heads = check_size(name, "heads", heads)
        if width % heads:
            raise ValueError(
                f"{name} expects a width that is a multiple of heads; got {width}, {heads}. Choose "
                f"{heads * width}."
            )

        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        sides = check_sizes(name, "size", size, length=2)
        dropout = check_share(name, "dropout", dropout)
        num_params = check_size(name, "num_params", num_params)
        out_channels = check_size(name, "out_channels", out_channels)
        if context_channels is not None:
            context_channels = check_size(name, "context_channels", context_channels)

        super().__init__(
            in_channels,
            None if context_channels is None else (context_channels, *sides),
        )
        self.num_params = num_params
        self.position = nn.Parameter(0.01 * torch.randn(width, *sides))
        self.first = RescaledConv2d(in_channels, width, 3)
        self.blocks = nn.ModuleList(
            GatedBlock(width, heads, dropout, context_channels) for _ in range(depth)
        )
        self.last = RescaledConv2d(width, out_channels * num_params, 3, gain=0.1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for the fixed part ``x``."""
        x = network_input("AttentionConditioner", "x", x, self.last.weight)
        if self.context_shape is not None:
            context = required(context, self.context_shape, x)
            context = context.expand(*x.shape[:-3], *self.context_shape)
            context = context.reshape(-1, *self.context_shape)

        h = self.first(channels_last(x.reshape(-1, *x.shape[-3:])))
        for block in self.blocks:
            h = block(h, self.position, context)

        return split_params(self.last(h), self.num_params, x)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Rescale all convolutions on the batch ``x``."""
        initialize_once(self, x, context)


class FlowPPContextNet(nn.Module):
    r"""A network from an image to features, which is used by the dequantisation noise of Flow++.

    It is a convolution, then gated convolutions.

    Args:
        in_channels: Channels of the image.
        width: Channels of the output.
        depth: Gated convolutions.
        dropout: Share of hidden elements that are dropped in training.

    Shape:
        - x: (\*batch, in_channels, H, W); returns (\*batch, width, H, W).

    Reference:
        Ho et al. (2019), Flow++, official code (`shallow_processor`).
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 32,
        depth: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        depth = check_size("FlowPPContextNet", "depth", depth, least=0, most=LARGEST_COUNT)
        dropout = check_share("FlowPPContextNet", "dropout", dropout)
        self.layers = nn.Sequential(
            RescaledConv2d(in_channels, width, 3),
            *(GatedConv(width, kernel_size=3, dropout=dropout) for _ in range(depth)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the image."""
        x = network_input("FlowPPContextNet", "x", x, weight_of(self))
        images = channels_last(x.reshape(-1, *x.shape[-3:]))
        features = self.layers(images)

        return features.reshape(x.shape[:-3] + features.shape[1:])

    def initialize(self, x: Tensor) -> Tensor:
        """Rescale all convolutions on the batch ``x``; return the output."""
        return initialize_once(self, x)
