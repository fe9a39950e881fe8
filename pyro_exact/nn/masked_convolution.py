"""Causal convolutions of images: masks from the groups of the channels, kernels without the rows that they hide."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements, check_kernel, check_size, check_sizes
from pyro_exact.nn import line_buffer

Prepared = tuple[Tensor, Tensor]


def groups(channels: int, colours: int) -> Tensor:
    """Return the colour of each channel, (channels): as many of each as can be, the first colour first.

    Raises:
        ValueError: If there are fewer channels than colours.
    """
    channels = check_size("Masked convolutions", "channels", channels)
    if channels < colours:
        raise ValueError(
            f"Masked convolutions expect a channel for each of {colours} colours; got {channels}. Widen the layer."
        )
    return torch.arange(channels) * colours // channels


def spans(channels: int, colours: int) -> list[slice]:
    """Return where the channels of each colour are."""
    ends = groups(channels, colours).bincount().cumsum(0).tolist()
    return [slice(first, end) for first, end in pairwise([0, *ends])]


def visible(in_groups: Tensor, out_groups: Tensor, size: tuple[int, int], strict: bool) -> Tensor:
    """Return what each output channel sees of the kept part of a kernel, (out_channels, in_channels, *size)."""
    mask = torch.ones(len(out_groups), len(in_groups), *size, dtype=torch.bool)
    rows, columns = size
    centre = columns // 2 if rows > 1 else columns - 1
    mask[:, :, -1, centre + 1 :] = False
    below = in_groups < out_groups[:, None]
    mask[:, :, -1, centre] = below if strict else below | (in_groups == out_groups[:, None])
    return mask


class MaskedConv2d(nn.Module):
    r"""A convolution that sees the pixels before, row by row, and of the pixel itself the colours before.

    A channel of the output with colour :math:`g` sees at the centre the channels of the input with
    colours up to :math:`g` (mask B), or below :math:`g` (mask A). Every channel of every layer
    belongs to a colour, in the order in which the numbers of a pixel are predicted: R, G, B, or one
    for grey images.

    Only that part of the kernel exists which some channel can see: of a k x k kernel the upper k //
    2 + 1 rows, of a 1 x k kernel the left k // 2 + 1 columns. The mask is applied to a copy of the
    weights, which are never changed.

    Args:
        in_groups: Colour of each input channel, (in_channels).
        out_groups: Colour of each output channel, (out_channels).
        kernel_size: Odd height and width of the whole kernel.
        strict: Whether the mask is A.
        bias: Whether to add a bias.

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
        sides = check_sizes("MaskedConv2d", "kernel_size", kernel_size, length=2)
        height, width = (check_kernel("MaskedConv2d", "side of the kernel", side) for side in sides)
        self.left = width // 2
        self.right = self.left if height > 1 else 0
        self.rows, self.columns = height // 2 + 1, self.left + 1 + self.right
        self.strict = strict
        check_elements("MaskedConv2d", len(out_groups), len(in_groups), self.rows, self.columns)
        mask = visible(in_groups, out_groups, (self.rows, self.columns), strict)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("out_groups", out_groups, persistent=False)
        bound = max(1, int(mask.flatten(1).sum(1).amax())) ** -0.5
        self.weight = nn.Parameter(torch.empty(mask.shape).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(len(out_groups)).uniform_(-bound, bound)) if bias else None
        )

    def masked(self) -> Tensor:
        """Return the weights, zero where they are hidden."""
        return self.weight.where(self.mask, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of all pixels."""
        if self.columns > 1 or self.rows > 1:
            x = F.pad(x, (self.left, self.right, self.rows - 1, 0))
        return F.conv2d(x, self.masked(), self.bias)

    def prepare(self, group: int = 0) -> Prepared:
        """Return bias, (units), and weights, (places * in_channels, units), of the output channels of a colour."""
        units = self.out_groups == group
        weight = self.masked()[units]
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias[units]
        places = (self.rows - 1) * self.columns + self.left + 1
        by_place = weight.permute(2, 3, 1, 0).flatten(0, 1)[:places]
        return bias, by_place.flatten(0, 1).contiguous()

    def start(self, batch: int, width: int) -> Tensor:
        """Return lines for the input, before the first row."""
        channels = self.weight.shape[1]
        return line_buffer.start(
            self.weight, batch, self.rows, width, channels, self.left, self.right
        )

    def taps(self, lines: Tensor) -> Tensor:
        """Return the places in lines that the kernel sees at column 0; see `line_buffer.window`."""
        return line_buffer.taps(lines, self.rows, self.columns, self.left + 1)

    @staticmethod
    def step(window: Tensor, prepared: Prepared) -> Tensor:
        """Return the output at one column, (N, units), from what the kernel sees there."""
        return torch.addmm(prepared[0], window, prepared[1])

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape[:2]
        return f"{in_channels}, {out_channels}, rows={self.rows}, columns={self.columns}, strict={self.strict}"
