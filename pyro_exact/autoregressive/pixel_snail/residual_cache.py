"""The steps of the gated residual layers of PixelSNAIL."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    PointwiseWeights,
    ShiftedWeights,
)
from pyro_exact.autoregressive.pixel_snail.gated_residual import ConvResidual, Gate, PixelResidual
from pyro_exact.ops.elu import elu


class ConvResidualCache(NamedTuple):
    """Tensors that the steps of a `ConvResidual` read and write.

    Attributes:
        first_lines: Line buffer of the input of the first convolution.
        second_lines: Line buffer of the input of the second convolution.
        first: Weights of the first convolution.
        second: Weights of the second convolution.
        gate: The gate.
    """

    first_lines: Tensor
    second_lines: Tensor
    first: ShiftedWeights
    second: ShiftedWeights
    gate: Gate

    @classmethod
    def of(cls, layer: ConvResidual, n: int, width: int) -> ConvResidualCache:
        """Return the cache before the first pixel of n images of this width."""
        first_lines = layer.first.empty_lines(n, width)
        second_lines = layer.second.empty_lines(n, width)
        first = layer.first.step_weights(first_lines)
        second = layer.second.step_weights(second_lines)
        return cls(first_lines, second_lines, first, second, layer.gate)

    def step(self, column: Tensor, new_row: bool, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the output of the next pixel, (N, 1, width), as in `ConvResidual`."""
        # h = phi(W phi(x))
        self.first.write(self.first_lines, column, new_row, elu(x))
        h = elu(self.first(self.first_lines, column))

        # y = x + a sigmoid(b),  a, b = U h + M c
        self.second.write(self.second_lines, column, new_row, h)
        gates = self.second(self.second_lines, column)
        y: Tensor = self.gate(x, gates, context)
        return y


class PixelResidualWeights(NamedTuple):
    """The weights of a `PixelResidual`, for steps.

    Attributes:
        first: Of the first linear map.
        side: Of the other map, if this layer takes another map.
        second: Of the second linear map.
        gate: The gate.
    """

    first: PointwiseWeights
    side: PointwiseWeights | None
    second: PointwiseWeights
    gate: Gate

    @classmethod
    def of(cls, layer: PixelResidual) -> PixelResidualWeights:
        """Return the weights of a layer."""
        side = None if layer.side is None else layer.side.step_weights()
        return cls(layer.first.step_weights(), side, layer.second.step_weights(), layer.gate)

    def __call__(self, x: Tensor, context: Tensor | None, side: Tensor | None = None) -> Tensor:
        """Return the output of some pixels, (N, pixels, width), as in `PixelResidual`."""
        # h = phi(W phi(x) + V phi(s))
        h = self.first(elu(x))
        if self.side is not None and side is not None:
            h = h + self.side(elu(side))

        # y = x + a sigmoid(b),  a, b = U h + M c
        y: Tensor = self.gate(x, self.second(elu(h)), context)
        return y
