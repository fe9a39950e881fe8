"""The steps of PixelCNN: a site is computed using the features of earlier pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from pyro_exact.autoregressive.pixel_net import Cursor
from pyro_exact.nn.line_buffer import gather_window, next_row, update_pixel, write_column
from pyro_exact.nn.masked_convolution import StepWeights, spans

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_cnn.net import PixelCNN, PixelCNNBlock


class BlockFeatures(NamedTuple):
    """Inputs of the convolutions of a block.

    Attributes:
        narrow: Input of the first 1x1 convolution at the pixel.
        middle: Line buffer of the input of the 3x3 convolution.
        wide: Input of the last 1x1 convolution at the pixel.
    """

    narrow: Tensor
    middle: Tensor
    wide: Tensor


class BlockWeights(NamedTuple):
    """Weights of a block, used for the channels of one colour."""

    narrow: StepWeights
    middle: StepWeights
    wide: StepWeights

    @classmethod
    def of(cls, block: PixelCNNBlock, colour: int) -> BlockWeights:
        """Return the weights of a block."""
        layers = block.narrow, block.middle, block.wide
        return cls(*(layer.step_weights(colour) for layer in layers))


class Weights(NamedTuple):
    """Weights of the network for the channels of one colour, and the channels."""

    first: StepWeights
    blocks: list[BlockWeights]
    head: StepWeights
    last: StepWeights
    stream_channels: slice
    middle_channels: slice
    head_channels: slice

    @classmethod
    def of(cls, net: PixelCNN, colour: int) -> Weights:
        """Return the weights of a network."""
        stream, head = net.head.weight.shape[1], net.last.weight.shape[1]
        return cls(
            first=net.first.step_weights(colour),
            blocks=[BlockWeights.of(block, colour) for block in net.blocks],
            head=net.head.step_weights(colour),
            last=net.last.step_weights(colour),
            stream_channels=spans(stream, net.colours)[colour],
            middle_channels=spans(stream // 2, net.colours)[colour],
            head_channels=spans(head, net.colours)[colour],
        )


class PixelCNNCache(NamedTuple):
    """Tensors that the steps of PixelCNN read and write.

    Attributes:
        weights: Weights for each colour.
        first_offsets: Kernel offsets of the first convolution, in the image.
        block_offsets: Kernel offsets of the 3x3 convolutions, in their line buffers.
        blocks: Features of each block.
        head: Input of the convolution before the last at the pixel.
        last: Input of the last convolution at the pixel.
    """

    weights: list[Weights]
    first_offsets: Tensor
    block_offsets: Tensor
    blocks: list[BlockFeatures]
    head: Tensor
    last: Tensor

    @classmethod
    def of(cls, net: PixelCNN, cursor: Cursor) -> PixelCNNCache:
        """Return the cache before the first pixel."""
        n = len(cursor.image)
        blocks = [
            BlockFeatures(
                narrow=block.narrow.empty_pixel(n),
                middle=block.middle.empty_lines(n, net.width),
                wide=block.wide.empty_pixel(n),
            )
            for block in net.blocks
        ]
        return cls(
            weights=[Weights.of(net, colour) for colour in range(net.colours)],
            first_offsets=net.first.kernel_offsets(cursor.image),
            block_offsets=net.blocks[0].middle.kernel_offsets(blocks[0].middle),
            blocks=blocks,
            head=net.head.empty_pixel(n),
            last=net.last.empty_pixel(n),
        )

    def start_row(self, cursor: Cursor) -> None:
        """Start a row in each line buffer."""
        for block in self.blocks:
            next_row(block.middle)

    def site_params(self, colour: int, cursor: Cursor) -> Tensor:
        """Return the parameters of a site, as `PixelCNN.theta` computes them for images."""
        weights = self.weights[colour]
        window = gather_window(cursor.image, self.first_offsets + cursor.column)
        x = weights.first(window)

        # The column that all blocks write, behind one column of padding, and the positions that
        # they read.
        written = cursor.column + 1
        seen = self.block_offsets + cursor.column

        for features, block in zip(self.blocks, weights.blocks, strict=True):
            x = x + self._residual(
                x,
                features,
                block,
                weights,
                written,
                seen,
            )

        x = weights.head(update_pixel(self.head, x.relu(), weights.stream_channels))
        return weights.last(update_pixel(self.last, x.relu(), weights.head_channels))

    def _residual(
        self,
        x: Tensor,
        features: BlockFeatures,
        block: BlockWeights,
        weights: Weights,
        written: Tensor,
        seen: Tensor,
    ) -> Tensor:
        """Return the residual of a block at the pixel."""
        middle_channels = weights.middle_channels
        h = block.narrow(update_pixel(features.narrow, x.relu(), weights.stream_channels))

        write_column(features.middle[..., middle_channels], written, h.relu())
        h = block.middle(gather_window(features.middle, seen))

        return block.wide(update_pixel(features.wide, h.relu(), middle_channels))
