"""The residual block of PixelCNN++."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import Pointwise, ShiftedConv2d
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn.dropout import Dropout
from pyro_exact.ops.concat_elu import concat_elu


class Feature(NamedTuple):
    """A map with the `concat_elu` of this map, which is used by several layers."""

    value: Tensor
    active: Tensor


def feature(value: Tensor) -> Feature:
    """Return a map with the corresponding activation."""
    return Feature(value, concat_elu(value))


class GatedResnet(nn.Module):
    r"""The residual block of PixelCNN++: two shifted convolutions with a gated output.

    .. math:: h = \phi\big(W \phi(x) + \sum_j V_j \phi(s_j)\big), \qquad
        a, b = U h + M c, \qquad y = x + a\, \sigma(b)

    where :math:`\phi` is `concat_elu` and the :math:`s_j` are other maps. The output of this block
    is small at first: :math:`U` has gain 0.1.

    Args:
        width: Channels of input and output.
        kernel_size: Kernel size used by both convolutions.
        centred: See `ShiftedConv2d`.
        sides: How many other maps this block uses.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector c.

    Shape:
        - x, y: (N, H, W, width); sides: (N, H, W, 2 width), activated; context: (N,
          context_dim).

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, official code (`gated_resnet`).
    """

    def __init__(
        self,
        width: int,
        kernel_size: tuple[int, int],
        centred: bool,
        sides: int = 0,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        width = check_size("GatedResnet", "width", width)
        sides = check_size(
            "GatedResnet",
            "sides",
            sides,
            least=0,
            most=LARGEST_COUNT,
        )
        if context_dim is not None:
            context_dim = check_size("GatedResnet", "context_dim", context_dim)

        self.first = ShiftedConv2d(2 * width, width, kernel_size, centred)
        self.side = Pointwise(2 * width * sides, width) if sides else None
        self.dropout = Dropout(dropout)
        self.second = ShiftedConv2d(
            2 * width,
            2 * width,
            kernel_size,
            centred,
            gain=0.1,
        )
        self.context = None
        if context_dim is not None:
            self.context = nn.Linear(context_dim, 2 * width, bias=False)

    def forward(self, x: Feature, *sides: Tensor, context: Tensor | None = None) -> Feature:
        """Return the output of the block."""
        # h = W phi(x) + sum_j V_j phi(s_j)
        h = self.first(x.active)
        if self.side is not None:
            h = h + self.side(*sides)

        # a, b = U phi(h) + M c
        gates = self.second(self.dropout(concat_elu(h)))
        if self.context is not None:
            gates = gates + self.context(context)[:, None, None]

        # y = x + a sigmoid(b)
        return feature(x.value + F.glu(gates, dim=-1))
