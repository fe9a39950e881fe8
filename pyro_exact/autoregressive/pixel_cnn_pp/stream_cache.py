"""The steps of a stream of PixelCNN++.

A step computes some columns of a row: every column in the stream above, a single column in the
other stream. Each lower resolution has half as many rows and half as many columns, so a step
computes it only where it has a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_cnn_pp.gated_resnet import Feature, feature
from pyro_exact.autoregressive.pixel_cnn_pp.resnet_cache import ResnetCache
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    ShiftedWeights,
    TransposedWeights,
)
from pyro_exact.autoregressive.pixel_cnn_pp.stream import SCALES, PixelCNNppStream


class StepSchedule(NamedTuple):
    """The part of each resolution that a step computes.

    Attributes:
        columns: Columns to compute, for each scale that has a pixel here.
        odd: For the same scales, 1 if the row is odd, else 0.
        new_row: True if the step starts a row.
    """

    columns: list[Tensor]
    odd: list[int]
    new_row: bool


class StreamCache(NamedTuple):
    """Tensors that the steps of a `PixelCNNppStream` read and write.

    Attributes:
        down: Indices of the blocks at each scale, on the way down.
        up: Indices of the blocks at each scale, on the way up.
        blocks: Cache of each block.
        shrink_lines: Line buffers of the inputs of the convolutions that halve a map.
        shrink: Weights of these convolutions.
        grown: Outputs of the convolutions that double a map: two rows, (N, 2, W', width).
        grow: Weights of these convolutions.
    """

    down: list[range]
    up: list[range]
    blocks: list[ResnetCache]
    shrink_lines: list[Tensor]
    shrink: list[ShiftedWeights]
    grown: list[Tensor]
    grow: list[TransposedWeights]

    @classmethod
    def of(
        cls,
        stream: PixelCNNppStream,
        n: int,
        width: int,
        context: Tensor | None,
    ) -> StreamCache:
        """Return the cache before the first row of images of this width."""
        widths = [width >> scale for scale in range(SCALES)]
        blocks = [
            ResnetCache.of(block, n, widths[stream.scales[index]], context)
            for index, block in enumerate(stream.blocks)
        ]

        lines = [layer.empty_lines(n, w) for layer, w in zip(stream.shrink, widths, strict=False)]
        shrink = [
            layer.step_weights(line) for layer, line in zip(stream.shrink, lines, strict=True)
        ]
        grown = [
            layer.bias.new_zeros(n, 2, w, len(layer.bias))
            for layer, w in zip(stream.grow, widths, strict=False)
        ]
        grow = [layer.step_weights() for layer in stream.grow]
        return cls(
            stream.down,
            stream.up,
            blocks,
            lines,
            shrink,
            grown,
            grow,
        )

    def step(
        self,
        x: Tensor,
        schedule: StepSchedule,
        beside: Sequence[Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Return the activated output of each block that is computed, by the index of the block.

        Args:
            x: Some columns of the input row, (N, columns, width).
            schedule: The part to compute.
            beside: The current row of each block of the other stream, (N, W', 2 width).
        """
        outputs: dict[int, Tensor] = {}

        def block(index: int, scale: int, x: Feature, *skip: Tensor) -> Feature:
            columns = schedule.columns[scale]
            sides = skip if beside is None else (beside[index].index_select(1, columns), *skip)
            y = self.blocks[index].step(columns, schedule.new_row, x, *sides)
            outputs[index] = y.active
            return y

        last = len(schedule.columns) - 1  # the lowest resolution that has a pixel here
        maps = [feature(x)]
        for scale, columns in enumerate(schedule.columns):
            for index in self.down[scale]:
                maps.append(block(index, scale, maps[-1]))
            if scale < SCALES - 1:
                lines, shrink = self.shrink_lines[scale], self.shrink[scale]
                shrink.write(lines, columns, schedule.new_row, maps[-1].value)
            if scale < last:
                maps.append(feature(shrink(lines, schedule.columns[scale + 1])))

        for scale in reversed(range(last + 1)):
            columns = schedule.columns[scale]
            y = maps.pop() if scale == SCALES - 1 else self._grown_columns(scale, schedule)
            for index in self.up[scale]:
                y = block(index, scale, y, maps.pop().active)
            if scale:
                pairs = torch.stack((2 * columns, 2 * columns + 1), dim=-1).flatten()
                rows = self.grow[scale - 1](y.value)
                self.grown[scale - 1].index_copy_(2, pairs, rows)
        return outputs

    def _grown_columns(self, scale: int, schedule: StepSchedule) -> Feature:
        """Return the columns of a scale that the lower resolution has made, now or earlier."""
        row = self.grown[scale][:, schedule.odd[scale]]
        return feature(row.index_select(1, schedule.columns[scale]))
