"""One of the two streams of PixelCNN++: residual blocks at three resolutions, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_cnn_pp.gated_resnet import (
    Feature,
    GatedResnet,
    Memory,
    feature,
    record,
)
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    Prepared,
    ShiftedConv2d,
    ShiftedConvTranspose2d,
)
from pyro_exact.checks import LARGEST_COUNT, check_size

SCALES = 3


class StreamMemory(NamedTuple):
    """What the steps of a stream keep; of the rows that are made two at a time, both."""

    blocks: list[Memory]
    shrink_lines: list[Tensor]
    shrink: list[Prepared]
    grown: list[Tensor]
    grow: list[tuple[Tensor, Tensor]]


class Due(NamedTuple):
    """Which part of a row a step computes: at each scale that is due its columns, and whether its row is odd."""

    columns: list[Tensor]
    odd: list[int]
    new_row: bool


class ShiftedStream(nn.Module):
    r"""Gated residual blocks that shrink a map twice by half, and let it grow again.

    On the way back there is one block more at each of the larger resolutions, and every block also
    sees one map of the way there, the last one first. A step computes a scale only where it is due:
    half as many rows, and half as many columns, with each.

    Args:
        width: Channels of all maps.
        depth: Number of blocks at each resolution on the way there.
        kernel_size: Of all convolutions.
        centred: See `ShiftedConv2d`.
        beside: Whether each block also sees the output of the same block of another stream.
        dropout: See `GatedResnet`.
        context_dim: See `GatedResnet`.

    Shape:
        - x: (N, H, W, width), with sides that 4 divides; returns one map (N, H', W', 2 width)
          for each block.

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, sections 2.3 and 2.4, and official
        code.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        kernel_size: tuple[int, int],
        centred: bool,
        beside: bool,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        depth = check_size("ShiftedStream", "depth", depth, most=LARGEST_COUNT)
        # Numbers of the blocks at each scale, on the way there and back.
        self.there = [range(s * depth, (s + 1) * depth) for s in range(SCALES)]
        ends = [6 * depth + 2, 5 * depth + 1, 4 * depth, 3 * depth]
        self.back = [range(ends[s + 1], ends[s]) for s in range(SCALES)]
        ways = [(s, way[s]) for way in (self.there, self.back) for s in range(SCALES)]
        self.scales = {number: scale for scale, numbers in ways for number in numbers}
        self.blocks: Sequence[GatedResnet] = nn.ModuleList(  # type: ignore[assignment]
            GatedResnet(
                width,
                kernel_size,
                centred,
                int(beside) + (number >= ends[-1]),
                dropout,
                context_dim,
            )
            for number in range(ends[0])
        )
        self.shrink: Sequence[ShiftedConv2d] = nn.ModuleList(  # type: ignore[assignment]
            ShiftedConv2d(width, width, kernel_size, centred, stride=2) for _ in range(SCALES - 1)
        )
        self.grow: Sequence[ShiftedConvTranspose2d] = nn.ModuleList(  # type: ignore[assignment]
            ShiftedConvTranspose2d(width, width, kernel_size) for _ in range(SCALES - 1)
        )

    def forward(
        self, x: Tensor, beside: Sequence[Tensor] | None = None, context: Tensor | None = None
    ) -> list[Tensor]:
        """Return the activated output of each block."""
        outputs: list[Tensor] = []

        def block(x: Feature, *skip: Tensor) -> Feature:
            number = len(outputs)
            sides = skip if beside is None else (beside[number], *skip)
            y: Feature = self.blocks[number](x, *sides, context=context)
            outputs.append(y.active)
            return y

        maps = [feature(x)]
        for scale in range(SCALES):
            for _ in self.there[scale]:
                maps.append(block(maps[-1]))
            if scale < SCALES - 1:
                maps.append(feature(self.shrink[scale](maps[-1].value)))
        y = maps.pop()
        for scale in reversed(range(SCALES)):
            for _ in self.back[scale]:
                y = block(y, maps.pop().active)
            if scale:
                y = feature(self.grow[scale - 1](y.value))
        return outputs

    def start(self, batch: int, width: int, context: Tensor | None) -> StreamMemory:
        """Return the memory before the first row."""
        widths = [width >> scale for scale in range(SCALES)]
        lines = [layer.start(batch, w) for layer, w in zip(self.shrink, widths, strict=False)]
        return StreamMemory(
            [
                block.start(batch, widths[self.scales[number]], context)
                for number, block in enumerate(self.blocks)
            ],
            lines,
            [layer.prepare(line) for layer, line in zip(self.shrink, lines, strict=True)],
            [
                layer.bias.new_zeros(batch, 2, w, len(layer.bias))
                for layer, w in zip(self.grow, widths, strict=False)
            ],
            [layer.prepare() for layer in self.grow],
        )

    def step(
        self, memory: StreamMemory, x: Tensor, due: Due, beside: Sequence[Tensor] | None = None
    ) -> dict[int, Tensor]:
        """Return the activated output of each block that is due, by its number.

        Args:
            memory: Written into.
            x: (N, columns, width), columns of the row.
            due: What is due; the first scale always is.
            beside: The present row of each block of the other stream, (N, W', 2 width).
        """
        outputs: dict[int, Tensor] = {}

        def block(number: int, scale: int, x: Feature, *skip: Tensor) -> Feature:
            columns = due.columns[scale]
            sides = skip if beside is None else (beside[number].index_select(1, columns), *skip)
            y = self.blocks[number].step(memory.blocks[number], columns, due.new_row, x, *sides)
            outputs[number] = y.active
            return y

        last = len(due.columns) - 1
        maps = [feature(x)]
        for scale, columns in enumerate(due.columns):
            for number in self.there[scale]:
                maps.append(block(number, scale, maps[-1]))
            if scale < SCALES - 1:
                layer, lines = self.shrink[scale], memory.shrink_lines[scale]
                record(lines, layer.left, columns, due.new_row, maps[-1].value)
            if scale < last:
                maps.append(
                    feature(layer.step(memory.shrink[scale], lines, due.columns[scale + 1]))
                )
        for scale in reversed(range(last + 1)):
            columns = due.columns[scale]
            if scale == SCALES - 1:
                y = maps.pop()
            else:
                y = feature(memory.grown[scale][:, due.odd[scale]].index_select(1, columns))
            for number in self.back[scale]:
                y = block(number, scale, y, maps.pop().active)
            if scale:
                both = torch.stack((2 * columns, 2 * columns + 1), dim=-1).flatten()
                rows = self.grow[scale - 1].step(memory.grow[scale - 1], y.value)
                memory.grown[scale - 1].index_copy_(2, both, rows)
        return outputs
