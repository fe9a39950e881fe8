"""Convolutions of the IAF-VAE, with weight normalisation: of whole maps, and of those before each number of a map.

Maps are (*batch, H, W, channels), in which a convolution is fastest, with any batch shape: many
samples, or none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_kernel, check_size
from pyro_exact.nn.masked_convolution import groups, visible
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.elu import elu


class CentredConv2d(WeightNormed):
    r"""A convolution that sees as far in all directions.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        stride: 2 halves the map.
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
        y = F.conv2d(_images(inputs[0]), weight, bias, self.stride, self.rows // 2)
        return _maps(y, inputs[0])


class DoublingConv2d(WeightNormed):
    r"""A transposed convolution that doubles the map.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        gain: See `WeightNormed`.

    Shape:
        - x: (\*batch, H, W, in_channels); y: (\*batch, 2 H, 2 W, out_channels).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, gain: float = 1.0
    ) -> None:
        side = check_kernel("DoublingConv2d", "kernel_size", kernel_size)
        super().__init__(in_channels, out_channels, (side, side), gain)

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        y = F.conv_transpose2d(
            _images(inputs[0]), weight.transpose(0, 1), bias, 2, self.rows // 2, 1
        )
        return _maps(y, inputs[0])


class CausalConv2d(WeightNormed):
    r"""A 3x3 convolution that sees the pixels before, row by row, and of the pixel itself the groups before.

    Args:
        in_groups: Group of each input channel; see `MaskedConv2d`.
        out_groups: Group of each output channel.
        strict: Whether a group of the pixel itself is hidden from itself.
        gain: See `WeightNormed`.

    Shape:
        - x: (\*batch, H, W, in_channels); y: (\*batch, H, W, out_channels).
    """

    mask: Tensor

    def __init__(
        self, in_groups: Tensor, out_groups: Tensor, strict: bool = False, gain: float = 1.0
    ) -> None:
        super().__init__(len(in_groups), len(out_groups), (2, 3), gain)
        self.register_buffer(
            "mask", visible(in_groups, out_groups, (2, 3), strict), persistent=False
        )

    def weight(self) -> Tensor:
        seen = self.direction.where(self.mask, 0)
        return seen * (self.magnitude / seen.flatten(1).norm(dim=1))[:, None, None, None]

    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor:
        return _maps(F.conv2d(F.pad(_images(inputs[0]), (1, 1, 1, 0)), weight, bias), inputs[0])


class AutoregressiveMap(nn.Module):
    r"""A masked network over a map: the parameters of each number are a function of the numbers before it.

    The numbers come pixel by pixel, row by row, and those of a pixel channel by channel. A context
    is added to the first hidden layer, and may depend on the batch and the place in any way.

    Args:
        channels: Channels of the map.
        num_params: Number of parameters of each number of the map.
        width: Hidden channels, at least as many; those of the context too.
        layers: Number of hidden layers.
        gain: Standard deviation of the parameters after initialisation.

    Shape:
        - x: (\*batch, channels, H, W); context: (\*batch, H, W, width).
        - theta: (\*batch, channels, H, W, num_params).

    Raises:
        ValueError: If there are fewer hidden channels than channels, or no hidden layer.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, official code (`ar_multiconv2d`). There the last
        layer is the strict one; here it is the first.
    """

    def __init__(
        self, channels: int, num_params: int, width: int, layers: int = 2, gain: float = 0.1
    ) -> None:
        super().__init__()
        name = "AutoregressiveMap"
        channels, num_params = (
            check_size(name, "channels", channels),
            check_size(name, "num_params", num_params),
        )
        width = check_size(name, "width", width, least=channels)
        layers = check_size(name, "layers", layers, most=LARGEST_COUNT)
        self.channels, self.num_params, self.width = channels, num_params, width
        order, hidden = torch.arange(channels), groups(width, channels)
        self.first = CausalConv2d(order, hidden, strict=True)
        self.hidden = nn.ModuleList(CausalConv2d(hidden, hidden) for _ in range(layers - 1))
        self.last = CausalConv2d(hidden, groups(channels * num_params, channels), gain=gain)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return the parameters of each number of ``x``."""
        if context.shape[-1] != self.width:
            raise ValueError(
                f"AutoregressiveMap expects a context of {self.width} channels, its last dimension; got shape "
                f"{tuple(context.shape)}. Build the network with that width."
            )
        h = elu(self.first(x.movedim(-3, -1)) + context)
        for layer in self.hidden:
            h = elu(layer(h))
        theta: Tensor = self.last(h).unflatten(-1, (self.channels, self.num_params))
        return theta.movedim(-2, -4)


def _images(x: Tensor) -> Tensor:
    """Return maps of any batch shape as torch's convolutions take them, (N, channels, H, W)."""
    return x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)


def _maps(y: Tensor, x: Tensor) -> Tensor:
    """Return images as maps, with the batch shape of other maps."""
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-3], *y.shape[2:], y.shape[1])
