"""The convolution of Glow: zero padding that the network can see, and an output scale that it can learn quickly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.nn.statistics import channel_statistics


class ScaledConv2d(nn.Module):
    r"""A convolution whose output is shifted and scaled per channel.

    .. math:: y = (\mathrm{conv}(x) + b)\, e^{f \ell}

    With ``zero`` it starts as the zero function (the last layer of a conditioner). Otherwise its weights start at
    N(0, 0.05²) and `initialize` gives its outputs zero mean and unit variance on one batch (the hidden layers).
    Scale and shift are folded into the weights: they cost no pass over the activations.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel; the padding keeps the size of the image.
        zero: Whether to start at zero.
        edge: Whether the convolution sees an extra channel that is 1 on the padding and 0 on the image.
        log_scale_factor: :math:`f`; the log-scale :math:`\ell` moves that much faster than the optimiser's step.

    Shape:
        - x: (N, in_channels, H, W); y: (N, out_channels, H, W).

    Raises:
        ValueError: If the kernel size is even, or there are no channels.

    Reference:
        Kingma and Dhariwal (2018), Glow, official code (`conv2d`, `conv2d_zeros`, `add_edge_padding`, `actnorm`).
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
        if kernel_size % 2 == 0:
            raise ValueError(f"ScaledConv2d expects an odd kernel size; got {kernel_size}.")
        if in_channels < 1 or out_channels < 1:
            raise ValueError(
                f"ScaledConv2d expects channels on both sides; got {in_channels} in and {out_channels} out. "
                f"One channel has no halves: start with Squeeze."
            )
        self.zero, self.padding, self.log_scale_factor = zero, kernel_size // 2, log_scale_factor
        std = 0.0 if zero else 0.05
        kernel = (kernel_size, kernel_size)
        self.weight = nn.Parameter(std * torch.randn(out_channels, in_channels, *kernel))
        self.edge_weight = nn.Parameter(std * torch.randn(out_channels, 1, *kernel)) if edge and self.padding else None
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled convolution of ``x``."""
        scale = (self.log_scale_factor * self.log_scale).exp()
        columns = scale[:, None, None, None]
        weight, bias = columns * self.weight, scale * self.bias
        if self.edge_weight is None:
            return F.conv2d(x, weight, bias, padding=self.padding)
        # The channel itself, 0 on the image and 1 on the padding. Less 1 it would be padded like the image, but the
        # gradients that are 0 here would be rounding errors then, of which Adam makes whole steps.
        edge, edge_weight = self._edge(x), columns * self.edge_weight
        if len(self.weight) <= self.weight.shape[1]:  # few outputs: one map that is added to all images
            return F.conv2d(x, weight, padding=self.padding).add_(F.conv2d(edge, edge_weight, bias))
        padded = F.pad(x, [self.padding] * 4)  # few inputs: one more of them
        seen = torch.cat((padded, edge.to(x.dtype).expand(len(x), -1, -1, -1)), dim=1)
        seen = seen.contiguous(memory_format=torch.channels_last)
        return F.conv2d(seen, torch.cat((weight, edge_weight), dim=1), bias)

    def initialize(self, x: Tensor) -> Tensor:
        """Set shift and scale from the batch ``x``, unless the layer starts at zero; return the output."""
        with torch.no_grad():
            if not self.zero:
                self.bias.zero_()
                self.log_scale.zero_()
                mean, std = channel_statistics(self(x), event_dim=3)
                self.bias.copy_(-mean.flatten())
                self.log_scale.copy_(-std.flatten().clamp(min=1e-4).log() / self.log_scale_factor)
            return self(x)

    def _edge(self, x: Tensor) -> Tensor:
        """Return the channel that marks the padding, of shape (1, 1, H + 2 padding, W + 2 padding)."""
        inside = torch.zeros(1, 1, *x.shape[-2:], dtype=self.weight.dtype, device=x.device)
        return F.pad(inside, [self.padding] * 4, value=1.0)

    def extra_repr(self) -> str:
        out_channels, in_channels, size, _ = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={size}" + (", zero=True" if self.zero else "")
