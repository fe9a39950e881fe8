"""The conditioner of RealNVP on images: a residual network with weight normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_kernel,
    check_number,
    check_size,
)
from pyro_exact.nn.conditioner import Conditioner, required, split_params
from pyro_exact.nn.layout import channels_last
from pyro_exact.nn.parameters import hypernet
from pyro_exact.nn.precision import network_input


class WeightNormConv2d(nn.Module):
    r"""A convolution whose weights are a direction and a magnitude for each output channel.

    Use this layer instead of `torch.nn.utils.parametrizations.weight_norm` when a network must be
    copied or pickled.

    .. math:: w = g\, \frac{v}{\lVert v \rVert}

    The parameters are plain tensors.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel; must be odd. The padding keeps the size of the image.
        magnitude: :math:`g` at first; when it is 0, the layer starts as the zero
            function.

    Shape:
        - x: (N, in_channels, H, W); y: (N, out_channels, H, W).

    Reference:
        Salimans and Kingma (2016), Weight Normalization, equation 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        magnitude: float = 1.0,
    ) -> None:
        super().__init__()
        name = "WeightNormConv2d"
        kernel_size = check_kernel(name, "kernel_size", kernel_size)
        in_channels = check_size(name, "in_channels", in_channels)
        out_channels = check_size(name, "out_channels", out_channels)
        magnitude = check_number(name, "magnitude", magnitude)
        check_elements(name, out_channels, in_channels, kernel_size, kernel_size)
        self.padding = kernel_size // 2
        self.direction = nn.Parameter(
            torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        )
        self.magnitude = nn.Parameter(torch.full((out_channels,), magnitude))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x``."""
        length = self.direction.flatten(1).norm(dim=1)
        weight = self.direction * (self.magnitude / length)[:, None, None, None]
        return F.conv2d(x, weight, self.bias, padding=self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.direction.shape
        return f"{in_channels}, {out_channels}, kernel_size={size}"


class ResidualConditioner(Conditioner):
    r"""The residual network of RealNVP. Use it for couplings of images.

    Every block adds to the output via a 1x1 convolution. The last layer starts at zero. The batch
    normalisation inside the network of the paper is left out, because the parameters for an image
    would depend on the whole batch. An optional context vector shifts the first hidden layer; this
    shift starts at zero.

    Args:
        in_channels: Channels of the fixed part.
        out_channels: Channels of the free part.
        num_params: Parameters that the formula uses for each element.
        width: Hidden channels.
        depth: Residual blocks, of two 3x3 convolutions each.
        context_dim: Size of an optional context vector.

    Shape:
        - x: (\*batch, in_channels, H, W); context: (\*batch, context_dim).
        - theta: (\*batch, out_channels, H, W, num_params).

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 4.1, and
        official code (`resnet`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        width: int = 64,
        depth: int = 8,
        context_dim: int | None = None,
    ) -> None:
        name = "ResidualConditioner"
        in_channels, out_channels = (
            check_size(name, "channels", n) for n in (in_channels, out_channels)
        )
        num_params = check_size(name, "num_params", num_params)
        width = check_size(name, "width", width)
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)

        super().__init__(in_channels, context_dim)
        self.num_params = num_params
        self.first = WeightNormConv2d(2 * in_channels, width, 3)
        self.shift = None if context_dim is None else hypernet(context_dim, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                WeightNormConv2d(width, width, 3),
                nn.ReLU(),
                WeightNormConv2d(width, width, 3, magnitude=0.1),
            )
            for _ in range(depth)
        )
        self.skips = nn.ModuleList(WeightNormConv2d(width, width, 1) for _ in range(depth + 1))
        self.last = WeightNormConv2d(width, out_channels * num_params, 1, magnitude=0.0)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for the fixed part ``x``."""
        x = network_input("ResidualConditioner", "x", x, self.last.magnitude)
        images = channels_last(x.reshape(-1, *x.shape[-3:]))
        h = self.first(torch.cat((images, -images), dim=1).relu())
        if self.shift is not None and self.context_shape is not None:
            context = required(context, self.context_shape, x)
            shift = self.shift(context).expand(*x.shape[:-3], -1)
            h = h + shift.reshape(-1, shift.shape[-1], 1, 1)

        output = self.skips[0](h)
        for block, skip in zip(self.blocks, self.skips[1:], strict=True):
            h = h + block(h)
            output = output + skip(h)

        return split_params(self.last(output.relu()), self.num_params, x)
