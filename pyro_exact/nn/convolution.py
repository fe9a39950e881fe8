"""The convolution of Glow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import (
    check_elements,
    check_kernel,
    check_number,
    check_size,
)
from pyro_exact.nn.statistics import channel_statistics


class ScaledConv2d(nn.Module):
    r"""A convolution whose output is shifted and scaled per channel, used by `ConvConditioner`.

    .. math:: y = (\mathrm{conv}(x) + b)\, e^{f \ell}

    When ``zero`` is true, it starts as the zero function, which should be used for the last layer
    of a conditioner. Otherwise the weights start at N(0, 0.05²), and `initialize` gives the outputs
    zero mean and unit variance on a batch; this is used for the hidden layers. Scale and shift are
    folded into the weights, so that no pass over the activations is required.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel; must be odd. The padding keeps the size of the image.
        zero: If true, the layer starts at zero.
        edge: If true, the convolution sees an extra channel that is 1 on the padding and
            0 on the image.
        log_scale_factor: :math:`f`; the log-scale :math:`\ell` is learned faster by this factor
            (default 3).

    Shape:
        - x: (N, in_channels, H, W); y: (N, out_channels, H, W).

    Raises:
        ValueError: If the kernel size is even, or there are no channels.

    Reference:
        Kingma and Dhariwal (2018), Glow, official code (`conv2d`, `conv2d_zeros`,
        `add_edge_padding`, `actnorm`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        zero: bool = False,
        edge: bool = True,
        log_scale_factor: float = 3.0,
    ) -> None:
        super().__init__()
        kernel_size = check_kernel("ScaledConv2d", "kernel_size", kernel_size)
        if in_channels == 0 or out_channels == 0:
            raise ValueError(
                "ScaledConv2d expects at least one input and one output channel; got "
                f"{in_channels} and {out_channels}. A single channel cannot be split: start with "
                "Squeeze."
            )

        in_channels = check_size("ScaledConv2d", "in_channels", in_channels)
        out_channels = check_size("ScaledConv2d", "out_channels", out_channels)
        check_elements("ScaledConv2d", out_channels, in_channels, kernel_size, kernel_size)
        log_scale_factor = check_number("ScaledConv2d", "log_scale_factor", log_scale_factor)
        self.zero = zero
        self.padding = kernel_size // 2
        self.log_scale_factor = log_scale_factor
        self.size = kernel_size  # a number: in a trace the sizes of a tensor are none
        std = 0.0 if zero else 0.05
        kernel = (kernel_size, kernel_size)
        self.weight = nn.Parameter(std * torch.randn(out_channels, in_channels, *kernel))
        self.edge_weight = (
            nn.Parameter(std * torch.randn(out_channels, 1, *kernel))
            if edge and self.padding
            else None
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled convolution of ``x``."""
        scale = (self.log_scale_factor * self.log_scale).exp()
        weight = scale.view(-1, 1, 1, 1) * self.weight
        if self.edge_weight is None:
            return F.conv2d(x, weight, scale * self.bias, padding=self.padding)

        # What the extra channel contributes is one map for all images, with the channels innermost
        # as in the others.
        _, _, height, breadth = x.shape
        edge = F.linear(
            self._edge(height, breadth),
            self.edge_weight.flatten(1),
            self.bias,
        )
        edge = (edge * scale).view(height, breadth, -1)
        y = F.conv2d(x, weight, padding=self.padding)

        return y.add_(edge.movedim(-1, 0))

    def initialize(self, x: Tensor) -> Tensor:
        """Set shift and scale using the batch ``x``, unless the layer starts at zero.

        Returns:
            The output.
        """
        with torch.no_grad():
            if not self.zero:
                self.bias.zero_()
                self.log_scale.zero_()
                mean, std = channel_statistics(self(x), event_dim=3)
                self.bias.copy_(-mean.flatten())
                self.log_scale.copy_(-std.flatten().clamp(min=1e-4).log() / self.log_scale_factor)

            return self(x)

    def _edge(self, height: int, breadth: int) -> Tensor:
        """Return which positions of a kernel lie on the padding, (height * breadth, positions)."""
        inside = F.unfold(
            self.weight.new_ones(1, 1, height, breadth),
            self.size,
            padding=self.padding,
        )
        return 1 - inside.squeeze(0).T

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.weight.shape
        zero = ", zero=True" if self.zero else ""
        return f"{in_channels}, {out_channels}, kernel_size={size}{zero}"
