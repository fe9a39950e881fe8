"""The steps of PixelCNN++: the stream above row by row, the other stream pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    PointwiseWeights,
    ShiftedWeights,
)
from pyro_exact.autoregressive.pixel_cnn_pp.stream import SCALES
from pyro_exact.autoregressive.pixel_cnn_pp.stream_cache import StepSchedule, StreamCache
from pyro_exact.nn import line_buffer

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_cnn_pp.net import PixelCNNpp


class PixelCNNppCache(NamedTuple):
    """Tensors that the steps of PixelCNN++ read and write.

    Attributes:
        batch_shape: Batch shape of the images.
        columns: The columns of the image, (W).
        column: The current column, (1).
        image: Line buffer of the image.
        first_above: Weights of the first convolution of the stream above.
        first_beside: Weights of the convolution with which the other stream sees the row above.
        first_left: Weights of the convolution with which it sees the pixels on the left.
        above: The stream above.
        left: The other stream.
        rows: The current row of each block of the stream above, (N, W', 2 width).
        beside: First map of the other stream, from the row above, (N, W, width).
        last: Weights of the last layer.
    """

    batch_shape: tuple[int, ...]
    columns: Tensor
    column: Tensor
    image: Tensor
    first_above: ShiftedWeights
    first_beside: ShiftedWeights
    first_left: ShiftedWeights
    above: StreamCache
    left: StreamCache
    rows: list[Tensor]
    beside: Tensor
    last: PointwiseWeights

    @classmethod
    def of(
        cls,
        net: PixelCNNpp,
        batch_shape: tuple[int, ...],
        context: Tensor | None,
    ) -> PixelCNNppCache:
        """Return the cache before the first pixel."""
        n, image_width = torch.Size(batch_shape).numel(), net.grid[-1]
        weight, width = net.last.bias, len(net.first_above.bias)
        image = net.first_above.empty_lines(n, image_width)

        scales = [net.above.scales[index] for index in range(len(net.above.blocks))]
        columns = torch.arange(image_width, device=weight.device)
        return cls(
            batch_shape=batch_shape,
            columns=columns,
            column=torch.zeros_like(columns[:1]),
            image=image,
            first_above=net.first_above.step_weights(image),
            first_beside=net.first_beside.step_weights(image),
            first_left=net.first_left.step_weights(image),
            above=StreamCache.of(net.above, n, image_width, context),
            left=StreamCache.of(net.left, n, image_width, context),
            rows=[weight.new_zeros(n, image_width >> scale, 2 * width) for scale in scales],
            beside=weight.new_zeros(n, image_width, width),
            last=net.last.step_weights(),
        )

    def write(self, pixel: Tensor) -> None:
        """Write the scaled values of the current pixel, (N, channels), into the image."""
        line_buffer.write_column(self.image, self.column + self.first_above.left, pixel)

    def start_row(self, row: int) -> None:
        """Compute the stream above for a row, and the first map of the other stream."""
        self.column.zero_()
        scales = range(lowest_scale(row, 0) + 1)
        columns = [self.columns[: len(self.columns) >> scale] for scale in scales]

        first = torch.zeros_like(self.beside)  # above the image there is zero, and no bias
        if row:
            first = self.first_above(self.image, columns[0])
            self.beside.copy_(self.first_beside(self.image, columns[0]))

        schedule = StepSchedule(columns, [row >> scale & 1 for scale in scales], new_row=True)
        for index, output in self.above.step(first, schedule).items():
            self.rows[index].copy_(output)
        line_buffer.next_row(self.image)

    def pixel_params(self, row: int, column: int) -> Tensor:
        """Return the parameters of the current pixel, (N, 1, num_params)."""
        first = self.beside.index_select(1, self.column)
        if column:  # on the left of the image there is zero, and no bias
            first = first + self.first_left(self.image, self.column)

        scales = range(lowest_scale(row, column) + 1)
        schedule = StepSchedule(
            columns=[self.column >> scale for scale in scales],
            odd=[row >> scale & 1 for scale in scales],
            new_row=column == 0,
        )
        outputs = self.left.step(first, schedule, self.rows)
        return self.last(first_half(outputs[max(outputs)]))


def lowest_scale(row: int, column: int) -> int:
    """Return the lowest resolution that has a pixel at this position, as a count of halvings."""
    return max(scale for scale in range(SCALES) if not (row | column) % 2**scale)


def first_half(activated: Tensor) -> Tensor:
    """Return the ELU from the output of `concat_elu`."""
    return activated.chunk(2, dim=-1)[0]
