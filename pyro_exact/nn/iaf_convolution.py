"""Convolutions of the IAF-VAE, with weight normalisation, and a masked network over a map.

Maps should have the shape (*batch, H, W, channels), the layout in which convolutions are fastest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_kernel, check_size
from pyro_exact.nn.masked_convolution import groups, visible
from pyro_exact.nn.precision import network_input
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.elu import elu


class CentredConv2d(WeightNormed):
    r"""A convolution with weight normalisation, whose kernel is centred at the pixel.

    It is used by the encoder and the decoder of the IAF-VAE.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        stride: Stride of the convolution; 2 halves the map.
        gain: See `WeightNormed`.

    Shape:
        - x: (\*batch, H, W, in_channels); y: (\*batch, H / stride, W / stride, out_channels).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        gain: float = 1.0,
    ) -> None:
        side = check_kernel("CentredConv2d", "kernel_size", kernel_size)
        super().__init__(in_channels, out_channels, (side, side), gain)
        self.stride = check_size("CentredConv2d", "stride", stride, most=LARGEST_COUNT)

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        y = F.conv2d(_channels_first(x), weight, bias, self.stride, self.rows // 2)
        return _channels_last(y, x)


class DoublingConv2d(WeightNormed):
    r"""A transposed convolution with weight normalisation that doubles the sides of the map.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        gain: See `WeightNormed`.

    Shape:
        - x: (\*batch, H, W, in_channels); y: (\*batch, 2 H, 2 W, out_channels).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        gain: float = 1.0,
    ) -> None:
        side = check_kernel("DoublingConv2d", "kernel_size", kernel_size)
        super().__init__(in_channels, out_channels, (side, side), gain)

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        kernel = weight.transpose(0, 1)
        y = F.conv_transpose2d(
            _channels_first(x),
            kernel,
            bias,
            stride=2,
            padding=self.rows // 2,
            output_padding=1,
        )
        return _channels_last(y, x)


class CausalConv2d(WeightNormed):
    r"""A masked 3x3 convolution with weight normalisation, used by `MaskedConvNet`.

    An output depends on the preceding pixels, row by row, and on the preceding groups of channels
    of the pixel itself.

    Args:
        in_groups: Group of each input channel; see `MaskedConv2d`.
        out_groups: Group of each output channel.
        strict: If true, a group of channels is independent of the same group of the pixel itself
           .
        gain: See `WeightNormed`.

    Shape:
        - x: (\*batch, H, W, in_channels); y: (\*batch, H, W, out_channels).
    """

    mask: Tensor

    def __init__(
        self,
        in_groups: Tensor,
        out_groups: Tensor,
        strict: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__(len(in_groups), len(out_groups), (2, 3), gain)
        mask = visible(in_groups, out_groups, (2, 3), strict)
        self.register_buffer("mask", mask, persistent=False)

    def weight(self) -> Tensor:
        # w = g v / |v|, with v masked first
        direction = self.direction.where(self.mask, 0)
        scale = self.magnitude / direction.flatten(1).norm(dim=1)
        return direction * scale[:, None, None, None]

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        padded = F.pad(_channels_first(x), (1, 1, 1, 0))
        return _channels_last(F.conv2d(padded, weight, bias), x)


class MaskedConvNet(nn.Module):
    r"""A masked network over a map: the output depends on the preceding elements only.

    Use this network as the conditioner of an `InverseAutoregressive` distribution. The order is row
    by row, and channel by channel within a pixel. The context is added to the first hidden layer,
    and may depend on the batch and on the position in any way.

    Args:
        channels: Channels of the map.
        num_params: Parameters of each element.
        width: Channels of the hidden layers and of the context; at least ``channels``.
        depth: Hidden layers.
        gain: Standard deviation of the parameters after initialisation.

    Shape:
        - x: (\*batch, channels, H, W); context: (\*batch, H, W, width).
        - theta: (\*batch, channels, H, W, num_params).

    Raises:
        ValueError: If there are fewer hidden channels than channels, or no hidden layer; on a
            context of another width.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, official code (`ar_multiconv2d`). There the last
        layer is the strict one; here it is the first.

    Example:
        >>> net = MaskedConvNet(channels=2, num_params=2, width=6)
        >>> net(torch.randn(5, 2, 4, 4), torch.randn(5, 4, 4, 6)).shape
        torch.Size([5, 2, 4, 4, 2])
    """

    def __init__(
        self,
        channels: int,
        num_params: int,
        width: int,
        depth: int = 2,
        gain: float = 0.1,
    ) -> None:
        super().__init__()
        name = "MaskedConvNet"
        self.channels = check_size(name, "channels", channels)
        self.num_params = check_size(name, "num_params", num_params)
        self.width = check_size(name, "width", width, least=self.channels)
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)

        inputs = torch.arange(self.channels)
        hidden = groups(self.width, self.channels)
        outputs = groups(self.channels * self.num_params, self.channels)

        self.first = CausalConv2d(inputs, hidden, strict=True)
        self.hidden = nn.ModuleList(CausalConv2d(hidden, hidden) for _ in range(depth - 1))
        self.last = CausalConv2d(hidden, outputs, gain=gain)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the parameters of each element of ``x``."""
        x = network_input("MaskedConvNet", "x", x, self.last.magnitude)
        context = network_input("MaskedConvNet", "context", context, self.last.magnitude)
        if context.shape[-1] != self.width:
            raise ValueError(
                f"MaskedConvNet expects a context with {self.width} channels in the last "
                f"dimension; got shape {tuple(context.shape)}. Build the network with this width."
            )

        h = elu(self.first(x.movedim(-3, -1)) + context)
        for layer in self.hidden:
            h = elu(layer(h))

        theta: Tensor = self.last(h).unflatten(-1, (self.channels, self.num_params))

        return theta.movedim(-2, -4)


def _channels_first(x: Tensor) -> Tensor:
    """Return maps (*batch, H, W, channels) as images (N, channels, H, W)."""
    return x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)


def _channels_last(y: Tensor, x: Tensor) -> Tensor:
    """Return images (N, channels, H, W) as maps, with the batch shape of the maps ``x``."""
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-3], *y.shape[2:], y.shape[1])
