"""Masked convolutions of images, which are used by autoregressive networks."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import (
    check_elements,
    check_kernel,
    check_size,
    check_sizes,
)
from pyro_exact.nn import line_buffer


def groups(channels: int, colours: int) -> Tensor:
    """Return the colour of each channel, (channels): equally many of each, the first colour first.

    Raises:
        ValueError: If there are fewer channels than colours.
    """
    channels = check_size("Masked convolutions", "channels", channels)
    if channels < colours:
        raise ValueError(
            f"Masked convolutions expect a channel for each of {colours} colours; got {channels}. "
            f"Widen the layer."
        )

    return torch.arange(channels) * colours // channels


def spans(channels: int, colours: int) -> list[slice]:
    """Return the channels of each colour, as slices."""
    ends = groups(channels, colours).bincount().cumsum(0).tolist()
    return [slice(first, end) for first, end in pairwise([0, *ends])]


def visible(
    in_groups: Tensor,
    out_groups: Tensor,
    size: tuple[int, int],
    strict: bool,
) -> Tensor:
    """Return the mask of a kernel, (out_channels, in_channels, *size), true where it is used.

    ``size`` is that of the part of the kernel which ends at the row of the pixel.
    """
    rows, columns = size
    mask = torch.ones(len(out_groups), len(in_groups), *size, dtype=torch.bool)

    # In the last row everything right of the centre is hidden.
    centre = columns // 2 if rows > 1 else columns - 1
    mask[:, :, -1, centre + 1 :] = False

    # At the centre a channel sees the colours before its own (mask A), and its own (mask B).
    earlier = in_groups < out_groups[:, None]
    same = in_groups == out_groups[:, None]
    mask[:, :, -1, centre] = earlier if strict else earlier | same

    return mask


class StepWeights(NamedTuple):
    """The weights of a convolution, arranged for steps that compute a pixel.

    Attributes:
        bias: (units).
        weight: (positions * in_channels, units).
    """

    bias: Tensor
    weight: Tensor

    def __call__(self, window: Tensor) -> Tensor:
        """Return the output at a pixel, (batch, units), using the window of the kernel."""
        return torch.addmm(self.bias, window, self.weight)


class MaskedConv2d(nn.Module):
    r"""A masked convolution. Use it in networks that predict images pixel by pixel.

    The output at a pixel depends on earlier pixels in raster order, and on earlier colours of the
    pixel itself. Every channel of every layer belongs to a colour, in the order in which the
    elements of a pixel are predicted: R, G, B, or a single colour for grey images. At the centre of
    the kernel an output channel of colour :math:`g` sees input channels of colours up to :math:`g`
    (mask B), or below :math:`g` (mask A).

    The kernel has no weights where the mask hides them from all channels: for example, a k x k
    kernel has only the upper k // 2 + 1 rows, and a 1 x k kernel the left k // 2 + 1 columns. The
    mask is applied in each call, and the parameters are never changed.

    Args:
        in_groups: Colour of each input channel, (in_channels).
        out_groups: Colour of each output channel, (out_channels).
        kernel_size: Height and width of the whole kernel; must be odd.
        strict: If true, the mask is of type A, otherwise of type B (default).
        bias: If true, a bias is added.

    Shape:
        - x: (N, in_channels, H, W); y: (N, out_channels, H, W).

    Raises:
        ValueError: If a side of the kernel is even.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        3.4 and figure 2.

    Example:
        >>> grey = groups(1, 1)
        >>> layer = MaskedConv2d(grey, groups(8, 1), (7, 7), strict=True)
        >>> layer(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 8, 28, 28])
    """

    out_groups: Tensor
    mask: Tensor

    def __init__(
        self,
        in_groups: Tensor,
        out_groups: Tensor,
        kernel_size: tuple[int, int] = (1, 1),
        strict: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        name = "MaskedConv2d"
        sides = check_sizes(name, "kernel_size", kernel_size, length=2)
        height, width = (check_kernel(name, "side of the kernel", side) for side in sides)

        self.left = width // 2
        self.right = self.left if height > 1 else 0
        self.rows = height // 2 + 1
        self.columns = self.left + 1 + self.right
        self.strict = strict
        check_elements(
            name,
            len(out_groups),
            len(in_groups),
            self.rows,
            self.columns,
        )

        mask = visible(in_groups, out_groups, (self.rows, self.columns), strict)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("out_groups", out_groups, persistent=False)

        # As torch initialises its layers, with the number of inputs that a unit really sees.
        fan_in = max(1, int(mask.flatten(1).sum(1).amax()))
        bound = fan_in**-0.5
        self.weight = nn.Parameter(torch.empty(mask.shape).uniform_(-bound, bound))
        self.bias = None
        if bias:
            self.bias = nn.Parameter(torch.empty(len(out_groups)).uniform_(-bound, bound))

    def masked(self) -> Tensor:
        """Return the weights, with zeros where they are hidden."""
        return self.weight.where(self.mask, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of all pixels."""
        if self.columns > 1 or self.rows > 1:
            x = F.pad(x, (self.left, self.right, self.rows - 1, 0))

        return F.conv2d(x, self.masked(), self.bias)

    # Steps
    # ---------------------------------------------------------------------------------------------

    def step_weights(self, colour: int = 0) -> StepWeights:
        """Return the weights of the output channels of a colour, for steps."""
        units = self.out_groups == colour
        weight = self.masked()[units]
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias[units]

        seen = (self.rows - 1) * self.columns + self.left + 1
        by_position = weight.permute(2, 3, 1, 0).flatten(0, 1)[:seen]

        return StepWeights(bias, by_position.flatten(0, 1).contiguous())

    def empty_lines(self, batch: int, width: int) -> Tensor:
        """Return a line buffer for the input, before the first row."""
        channels = self.weight.shape[1]
        return line_buffer.empty_lines(
            self.weight,
            batch,
            self.rows,
            width,
            channels,
            self.left,
            self.right,
        )

    def empty_pixel(self, batch: int) -> Tensor:
        """Return zeros for the input of a 1x1 convolution at a pixel, (batch, in_channels)."""
        return self.weight.new_zeros(batch, self.weight.shape[1])

    def kernel_offsets(self, lines: Tensor) -> Tensor:
        """Return the positions that the kernel sees at column 0.

        See `line_buffer.kernel_offsets`.
        """
        return line_buffer.kernel_offsets(lines, self.rows, self.columns, self.left + 1)

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape[:2]
        size = f"rows={self.rows}, columns={self.columns}"
        return f"{in_channels}, {out_channels}, {size}, strict={self.strict}"
