"""Convolutions whose weights are rescaled once, from data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_exact.checks import (
    check_elements,
    check_kernel,
    check_number,
    check_size,
)
from pyro_exact.nn.statistics import channel_statistics


class RescaledConv2d(nn.Conv2d):
    r"""A convolution whose weights start at N(0, 0.05²) and are rescaled once, using data.

    `initialize` gives each channel of the output mean 0 and standard deviation ``gain`` on a batch.
    This changes only the weights; it is neither weight nor batch normalisation. It is used by
    Flow++.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel; must be odd. The padding keeps the size of the image.
        gain: Standard deviation of the outputs after initialisation.

    Shape:
        - x: (N, in_channels, H, W); y: (N, out_channels, H, W).

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, official code (`conv2d`).
    """

    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        gain: float = 1.0,
    ) -> None:
        name = "RescaledConv2d"
        kernel_size = check_kernel(name, "kernel_size", kernel_size)
        channels = (
            check_size(name, "in_channels", in_channels),
            check_size(name, "out_channels", out_channels),
        )
        check_elements(name, *channels, kernel_size, kernel_size)
        super().__init__(*channels, kernel_size, padding=kernel_size // 2)
        self.gain = check_number(name, "gain", gain)
        nn.init.normal_(self.weight, std=0.05)
        nn.init.zeros_(self.bias)

    def initialize(self, x: Tensor) -> None:
        """Rescale the weights on the batch ``x``."""
        with torch.no_grad():
            self.bias.zero_()
            mean, std = channel_statistics(super().forward(x), event_dim=3)
            scale = self.gain * (std.square() + 1e-8).rsqrt().flatten()
            self.weight.mul_(scale[:, None, None, None])
            self.bias.copy_(-mean.flatten() * scale)


def initialize_once(net: nn.Module, *inputs: Any, kind: type[Any] = RescaledConv2d) -> Tensor:
    """Run a network once, and initialise each layer of a type using the corresponding input.

    Returns:
        The output of the network.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, kind)]
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: layer.initialize(*inputs))
        for layer in layers
    ]
    try:
        with torch.no_grad():
            output: Tensor = net(*inputs)

        return output
    finally:
        for hook in hooks:
            hook.remove()
