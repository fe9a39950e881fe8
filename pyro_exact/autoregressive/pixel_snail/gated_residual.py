"""The gated residual layers of PixelSNAIL: two convolutions, or two linear maps of each pixel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import Pointwise, ShiftedConv2d
from pyro_exact.nn.dropout import Dropout
from pyro_exact.ops.elu import elu


class Gate(nn.Module):
    r"""The second half of a gated residual layer: from the gates to the output.

    .. math:: (a, b) = u + M c, \qquad y = x + a\, \sigma(b)

    Args:
        width: Channels of x and y.
        context_dim: Size of a context vector c.

    Shape:
        - x, y: (N, H, W, width); u: (N, H, W, 2 width); context: (N, context_dim). In a step: (N,
          pixels, channels).
    """

    def __init__(self, width: int, context_dim: int | None) -> None:
        super().__init__()
        self.context: nn.Linear | None = None
        if context_dim is not None:
            self.context = nn.Linear(context_dim, 2 * width, bias=False)

    def forward(self, x: Tensor, gates: Tensor, context: Tensor | None) -> Tensor:
        """Return y."""
        if self.context is not None and context is not None:
            added = self.context(context)
            pixels = [1] * (gates.dim() - 2)
            gates = gates + added.reshape(len(added), *pixels, added.shape[-1])

        # y = x + a sigmoid(b)
        return x + F.glu(gates, dim=-1)


class ConvResidual(nn.Module):
    r"""A gated residual layer of two 2x2 convolutions, which see pixels on the left and above.

    .. math:: h = \phi(W * \phi(x)), \qquad (a, b) = U * h + M c, \qquad y = x + a\, \sigma(b)

    where :math:`\phi` is `elu`. The output of this layer is small at first: :math:`U` has gain 0.1.

    Args:
        width: Channels of input and output.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector c.

    Shape:
        - x, y: (N, H, W, width); context: (N, context_dim).

    Reference:
        Chen, Mishra, Rohaninejad and Abbeel (2018), PixelSNAIL, official code (`gated_resnet` with
        `down_right_shifted_conv2d`).
    """

    def __init__(self, width: int, dropout: float, context_dim: int | None) -> None:
        super().__init__()
        self.first = ShiftedConv2d(width, width, (2, 2), centred=False)
        self.dropout = Dropout(dropout)
        self.second = ShiftedConv2d(width, 2 * width, (2, 2), centred=False, gain=0.1)
        self.gate = Gate(width, context_dim)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the output of all pixels."""
        # h = phi(W phi(x))
        h = elu(self.first(elu(x)))
        h = self.dropout(h)

        # y = x + a sigmoid(b),  a, b = U h + M c
        gates = self.second(h)
        y: Tensor = self.gate(x, gates, context)
        return y


class PixelResidual(nn.Module):
    r"""A gated residual layer of each pixel by itself, which may take another map.

    .. math:: h = \phi(W \phi(x) + V \phi(s)), \qquad
        (a, b) = U h + M c, \qquad y = x + a\, \sigma(b)

    Args:
        width: Channels of input and output.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector c.
        side: Channels of another map s.

    Shape:
        - x, y: (N, H, W, width); s: (N, H, W, side); context: (N, context_dim).

    Reference:
        As `ConvResidual` (`gated_resnet` with `nin`).
    """

    def __init__(
        self, width: int, dropout: float, context_dim: int | None, side: int | None = None
    ) -> None:
        super().__init__()
        self.first = Pointwise(width, width)
        self.side = None if side is None else Pointwise(side, width)
        self.dropout = Dropout(dropout)
        self.second = Pointwise(width, 2 * width, gain=0.1)
        self.gate = Gate(width, context_dim)

    def forward(self, x: Tensor, context: Tensor | None, side: Tensor | None = None) -> Tensor:
        """Return the output of all pixels."""
        # h = phi(W phi(x) + V phi(s))
        h = self.first(elu(x))
        if self.side is not None and side is not None:
            h = h + self.side(elu(side))
        h = self.dropout(elu(h))

        # y = x + a sigmoid(b),  a, b = U h + M c
        gates = self.second(h)
        y: Tensor = self.gate(x, gates, context)
        return y
