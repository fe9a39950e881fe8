"""The steps of the residual block of PixelCNN++."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_cnn_pp.gated_resnet import Feature, GatedResnet, feature
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    PointwiseWeights,
    ShiftedWeights,
)
from pyro_exact.ops.concat_elu import concat_elu


class ResnetCache(NamedTuple):
    """Tensors that the steps of a `GatedResnet` read and write.

    Attributes:
        first_lines: Line buffer of the input of the first convolution.
        second_lines: Line buffer of the input of the second convolution.
        first: Weights of the first convolution.
        second: Weights of the second convolution; the bias includes the context.
        side: Weights of the other maps, if this block uses any.
    """

    first_lines: Tensor
    second_lines: Tensor
    first: ShiftedWeights
    second: ShiftedWeights
    side: PointwiseWeights | None

    @classmethod
    def of(
        cls,
        block: GatedResnet,
        n: int,
        width: int,
        context: Tensor | None,
    ) -> ResnetCache:
        """Return the cache before the first row of a map of this width."""
        first_lines = block.first.empty_lines(n, width)
        second_lines = block.second.empty_lines(n, width)

        second = block.second.step_weights(second_lines)
        if block.context is not None:
            second = second._replace(bias=second.bias + block.context(context)[:, None])
        side = None if block.side is None else block.side.step_weights()
        return cls(
            first_lines,
            second_lines,
            block.first.step_weights(first_lines),
            second,
            side,
        )

    def step(self, columns: Tensor, new_row: bool, x: Feature, *sides: Tensor) -> Feature:
        """Return some columns of the output row; see `GatedResnet.forward` for the formula."""
        # h = W phi(x) + sum_j V_j phi(s_j)
        self.first.write(self.first_lines, columns, new_row, x.active)
        h = self.first(self.first_lines, columns)
        if self.side is not None:
            h = h + self.side(*sides)

        # y = x + a sigmoid(b),  a, b = U phi(h) + M c
        self.second.write(self.second_lines, columns, new_row, concat_elu(h))
        gates = self.second(self.second_lines, columns)
        return feature(x.value + F.glu(gates, dim=-1))
