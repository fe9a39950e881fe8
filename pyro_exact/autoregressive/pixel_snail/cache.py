"""The steps of PixelSNAIL, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    PointwiseWeights,
    ShiftedWeights,
)
from pyro_exact.autoregressive.pixel_snail.attention_cache import AttentionCache
from pyro_exact.autoregressive.pixel_snail.block import SnailBlock
from pyro_exact.autoregressive.pixel_snail.residual_cache import (
    ConvResidualCache,
    PixelResidualWeights,
)
from pyro_exact.nn import line_buffer
from pyro_exact.ops.elu import elu

if TYPE_CHECKING:
    from pyro_exact.autoregressive.pixel_snail.net import PixelSNAIL


class BlockCache(NamedTuple):
    """Tensors that the steps of a `SnailBlock` read and write.

    Attributes:
        residuals: The gated residual layers.
        attention: The attention.
        merge: Weights of the layer that merges the two.
        features: Features of the last pixel, (N, 1, width), used to compute the key and the value
            once the pixel is known.
    """

    residuals: list[ConvResidualCache]
    attention: AttentionCache
    merge: PixelResidualWeights
    features: Tensor

    @classmethod
    def of(cls, block: SnailBlock, features: Tensor, width: int) -> BlockCache:
        """Return the cache before the first pixel, for images of this width."""
        n = len(features)
        return cls(
            residuals=[ConvResidualCache.of(layer, n, width) for layer in block.residuals],
            attention=AttentionCache.of(block.attention, n),
            merge=PixelResidualWeights.of(block.merge),
            features=features.clone(),
        )


class PixelSNAILCache(NamedTuple):
    """Tensors that the steps of PixelSNAIL read and write.

    Attributes:
        batch_shape: Batch shape of the images.
        context: (N, context_dim), if the network takes a context.
        columns: The columns of the image, (W).
        position: Index of the current pixel, (1).
        column: Column of the current pixel, (1).
        image: Line buffer of the image.
        pixel: Scaled values of the pixel before, (N, 1, channels).
        above: Term of the row above in the first layer, (N, W, width).
        first_above: Weights of the convolution over the row above.
        first_left: Weights of the convolution over the pixels on the left.
        blocks: The blocks.
        last: Weights of the last layer.
    """

    batch_shape: tuple[int, ...]
    context: Tensor | None
    columns: Tensor
    position: Tensor
    column: Tensor
    image: Tensor
    pixel: Tensor
    above: Tensor
    first_above: ShiftedWeights
    first_left: ShiftedWeights
    blocks: list[BlockCache]
    last: PointwiseWeights

    @classmethod
    def of(
        cls, net: PixelSNAIL, batch_shape: tuple[int, ...], context: Tensor | None
    ) -> PixelSNAILCache:
        """Return the cache before the first pixel."""
        n = torch.Size(batch_shape).numel()
        channels, image_width = net.event_shape[0], net.grid[-1]
        weight = net.last.bias
        width = len(net.first_above.bias)

        # The last two rows, with a column of zeros on either side.
        image = line_buffer.empty_lines(weight, n, 2, image_width, channels + 1, left=1, right=1)
        features = weight.new_zeros(n, 1, width)
        columns = torch.arange(image_width, device=weight.device)
        return cls(
            batch_shape=batch_shape,
            context=context,
            columns=columns,
            position=torch.zeros_like(columns[:1]),
            column=torch.zeros_like(columns[:1]),
            image=image,
            pixel=weight.new_zeros(n, 1, channels),
            above=weight.new_zeros(n, image_width, width),
            first_above=net.first_above.step_weights(image),
            first_left=net.first_left.step_weights(image),
            blocks=[BlockCache.of(block, features, image_width) for block in net.blocks],
            last=net.last.step_weights(),
        )

    def write(self, marked: Tensor) -> None:
        """Write the current pixel, (N, channels + 1), into the image; move to the next pixel."""
        line_buffer.write_column(self.image, self.column + 1, marked)
        pixel = marked[:, :-1]
        self.pixel.copy_(pixel.unsqueeze(1))

        self.position.add_(1)
        self.column.add_(1)

    def start_row(self, first: bool) -> None:
        """Compute the term of the row above in the first layer, which is zero in the first row."""
        if not first:
            above = self.first_above(self.image, self.columns)
            self.above.copy_(above)
        line_buffer.next_row(self.image)
        self.column.zero_()

    def pixel_params(self, first: bool, new_row: bool, sees_others: bool) -> Tensor:
        """Return the parameters of the current pixel, (N, 1, num_params).

        Args:
            first: If true, this is the first pixel of the image.
            new_row: If true, this is the first pixel of a row.
            sees_others: If true, the attention sees another pixel.
        """
        features = self.above.index_select(1, self.column)
        if not new_row:  # on the left of the image there is zero, and no bias
            features = features + self.first_left(self.image, self.column)

        for block in self.blocks:
            for residual in block.residuals:
                features = residual.step(self.column, new_row, features, self.context)

            if not first:
                before = self.position - 1
                block.attention.write(before, self.pixel, block.features, self.context)
            block.features.copy_(features)

            attended = torch.zeros_like(block.attention.values[:, :1])
            if sees_others:
                attended = block.attention.attend(self.position, features, self.context)
            features = block.merge(features, self.context, attended)
        return self.last(elu(features))
