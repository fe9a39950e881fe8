"""The network of a group of Multiscale PixelCNN: all pixels of the group in one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_exact.checks import LARGEST_COUNT, check_elements, check_kernel, check_size
from pyro_exact.nn.layout import channels_last
from pyro_exact.nn.masked_convolution import MaskedConv2d, groups


class GroupSizes(NamedTuple):
    """The sizes of the networks of all groups.

    Attributes:
        width: Channels of the residual network.
        depth: Residual blocks.
        kernel_size: Odd side of the kernels, in cells of 2x2 pixels.
        head_width: Channels of the input of the last 1x1 convolution.
    """

    width: int
    depth: int
    kernel_size: int
    head_width: int

    def checked(self, name: str) -> GroupSizes:
        """Return the sizes as integers, or raise an error that names the network."""
        sizes = GroupSizes(
            width=check_size(name, "width", self.width),
            depth=check_size(name, "depth", self.depth, least=0, most=LARGEST_COUNT),
            kernel_size=check_kernel(name, "kernel_size", self.kernel_size),
            head_width=check_size(name, "head_width", self.head_width),
        )
        check_elements(name, sizes.width, sizes.width, sizes.kernel_size, sizes.kernel_size)
        check_elements(name, sizes.head_width, sizes.width)
        return sizes


class ResidualBlock(nn.Module):
    r"""Two convolutions whose output is added to the input. A new block returns the input.

    .. math:: y = h + W_2 * \mathrm{relu}(W_1 * \mathrm{relu}(h) + V c)

    Args:
        width: Channels of input and output.
        kernel_size: Odd side of both kernels.
        context_dim: Size of a context vector c; `None` without a context.
    """

    def __init__(
        self,
        width: int,
        kernel_size: int,
        context_dim: int | None,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.first = nn.Conv2d(width, width, kernel_size, padding=padding)
        self.second = nn.Conv2d(width, width, kernel_size, padding=padding)
        nn.init.zeros_(self.second.weight)

        self.context: nn.Linear | None = None
        if context_dim is not None:
            self.context = nn.Linear(context_dim, width, bias=False)

    def forward(self, h: Tensor, context: Tensor | None) -> Tensor:
        """Return y."""
        inner = self.first(h.relu())
        if self.context is not None and context is not None:
            inner = inner + self.context(context)[..., None, None]
        return h + self.second(inner.relu())


class GroupNet(nn.Module):
    r"""The parameters of the pixels of a group, given all pixels of earlier groups.

    .. math:: h = \mathrm{resnet}(\mathrm{known}), \qquad
        \theta_k = W_k\, \mathrm{relu}(A h + B x_{<k})

    The residual network has no masks: it sees all known pixels, as channels of cells of 2x2 pixels.
    Where a site is a single colour, the last two layers are masked convolutions of each pixel, so
    that colour k sees the earlier colours :math:`x_{<k}` of its own pixel.

    Args:
        known: Known pixels of each cell: 1, 2 or 3.
        channels: Channels of a pixel.
        colours: Sites of a pixel.
        num_params: Parameters of a site.
        sizes: Width, depth, kernel and head.
        context_dim: Size of a context vector, which adds to every block.
        scales: Scales that share this network; each has a learned vector, added to the first layer.

    Shape:
        - known: (N, known * channels, h, w); own: (N, channels, h, w).
        - features: (N, head_width, h, w); theta: (N, colours, h, w, num_params).
    """

    def __init__(
        self,
        known: int,
        channels: int,
        colours: int,
        num_params: int,
        sizes: GroupSizes,
        context_dim: int | None,
        scales: int,
    ) -> None:
        super().__init__()
        self.colours = colours
        width, kernel_size = sizes.width, sizes.kernel_size
        self.first = nn.Conv2d(known * channels, width, kernel_size, padding=kernel_size // 2)
        self.scale_bias: nn.Parameter | None = None
        if scales > 1:
            self.scale_bias = nn.Parameter(torch.zeros(scales, width))

        self.blocks = nn.ModuleList(
            ResidualBlock(width, kernel_size, context_dim) for _ in range(sizes.depth)
        )

        head = groups(sizes.head_width, colours)
        params = torch.arange(colours).repeat_interleave(num_params)
        self.head = nn.Conv2d(width, sizes.head_width, 1)  # A
        self.own: MaskedConv2d | None = None  # B
        if colours > 1:
            self.own = MaskedConv2d(groups(channels, colours), head, strict=True, bias=False)
        self.last = MaskedConv2d(head, params)  # W

    def features(
        self,
        known: Tensor,
        context: Tensor | None,
        scale: int,
    ) -> Tensor:
        """Return A h, the part of the last layers that depends on known pixels alone."""
        h = self.first(channels_last(known))
        if self.scale_bias is not None:
            h = h + self.scale_bias[scale][:, None, None]
        for block in self.blocks:
            h = block(h, context)

        features: Tensor = self.head(h.relu())
        return features

    def theta(self, features: Tensor, own: Tensor) -> Tensor:
        """Return the parameters, each from the features and earlier colours of the same pixel."""
        if self.own is not None:
            features = features + self.own(own)

        theta: Tensor = self.last(features.relu())
        return theta.unflatten(1, (self.colours, -1)).movedim(2, -1)
