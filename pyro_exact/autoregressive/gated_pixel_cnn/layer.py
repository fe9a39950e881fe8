"""A layer of Gated PixelCNN."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements
from pyro_exact.nn.masked_convolution import MaskedConv2d


class GatedLayer(nn.Module):
    r"""A layer of the vertical and of the horizontal stack of Gated PixelCNN.

    .. math::
        a_v = W_v * v + V_v c, \quad v' = \gamma(a_v), \qquad
        a_h = W_h * h + W_{vh}\, a_v + V_h c, \quad \mathrm{out} = W_r\, \gamma(a_h)

    Args:
        inputs: Colour of each channel of the input.
        stack: Colour of each channel of either stack.
        outputs: Colour of each channel that the horizontal gates make: first the stack, if any,
            then the skip connection.
        kernel_size: Odd side of the whole kernel.
        context_channels: Channels of the context; `None` without a context.
        first: If true, the input is the image, of which the layer sees only rows above and earlier
            pixels and colours.
    """

    def __init__(
        self,
        inputs: Tensor,
        stack: Tensor,
        outputs: Tensor,
        kernel_size: int,
        context_channels: int | None,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.side, self.first = kernel_size // 2, first
        units = 2 * len(stack)  # values and gates
        rows = self.side + (not first)  # above, and for inner layers the row itself
        check_elements(
            "GatedPixelCNN",
            units,
            max(units, len(inputs)),
            rows,
            kernel_size,
        )

        self.vertical = nn.Conv2d(len(inputs), units, (rows, kernel_size))  # W_v
        self.across = nn.Conv2d(units, units, 1)  # W_vh
        self.horizontal = MaskedConv2d(  # W_h
            inputs,
            stack.repeat(2),
            (1, kernel_size),
            strict=first,
            bias=False,
        )
        self.out = MaskedConv2d(stack, outputs)  # W_r, and the skip connection
        self.context = None  # V_v and V_h
        if context_channels is not None:
            self.context = nn.Conv2d(context_channels, 2 * units, 1, bias=False)

    def forward(
        self,
        v: Tensor,
        h: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the vertical stack, and the output of the horizontal gates."""
        padding = (self.side, self.side, self.side, -1 if self.first else 0)
        rows_above = F.pad(v, padding)
        if self.context is not None:
            context = self.context(context)

        # a_v = W_v * v + V_v c,  from_above = W_vh a_v + V_h c
        a_v, from_above = vertical_gates(self.vertical(rows_above), self.across, context, dim=1)
        # a_h = W_h * h + from_above
        a_h = self.horizontal(h) + from_above
        return gated(a_v, 1), self.out(gated(a_h, 1))


def gated(a: Tensor, dim: int) -> Tensor:
    """Return tanh(a) sigmoid(b) of the two halves of a dimension."""
    value, gate = a.chunk(2, dim)
    return value.tanh() * gate.sigmoid()


def vertical_gates(
    a: Tensor,
    across: Callable[[Tensor], Tensor],
    context: Tensor | None,
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Return the input of the vertical gates, and the term that is added to the horizontal gates.

    Args:
        a: W_v * v.
        across: W_vh.
        context: V_v c and V_h c, concatenated along ``dim``; `None` without a context.
        dim: Dimension of the channels.
    """
    if context is None:
        return a, across(a)

    to_vertical, to_horizontal = context.chunk(2, dim)
    a = a + to_vertical
    return a, across(a) + to_horizontal
