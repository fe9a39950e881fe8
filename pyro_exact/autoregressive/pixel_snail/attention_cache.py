"""The steps of the attention of PixelSNAIL."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import PointwiseWeights
from pyro_exact.autoregressive.pixel_snail.attention import PixelAttention
from pyro_exact.autoregressive.pixel_snail.residual_cache import PixelResidualWeights
from pyro_exact.nn.attend import attend


class AttentionCache(NamedTuple):
    """Tensors that the steps of a `PixelAttention` read and write.

    Attributes:
        keys: The key of each square so far, (N, squares, key_dim).
        values: The value of each square so far, (N, squares, value_dim).
        pooled: True if a square has several pixels, so that keys and values are maxima.
        last_pixel: Index of the last pixel of each square, (squares).
        square: Index of the square of each pixel, (H W).
        background: Coordinates of each pixel, (H W, 2).
        content: Weights of the residual layer of keys and values.
        to_content: Weights of the linear map to keys and values.
        query: Weights of the residual layer of queries.
        to_query: Weights of the linear map to queries.
    """

    keys: Tensor
    values: Tensor
    pooled: bool
    last_pixel: Tensor
    square: Tensor
    background: Tensor
    content: PixelResidualWeights
    to_content: PointwiseWeights
    query: PixelResidualWeights
    to_query: PointwiseWeights

    @classmethod
    def of(cls, layer: PixelAttention, n: int) -> AttentionCache:
        """Return the cache of n images before the first pixel."""
        height, width = layer.shape
        pool = layer.pool

        # The index of each square, at each pixel of the square.
        squares = torch.arange(len(layer.last_pixel), device=layer.last_pixel.device)
        square = squares.view(height // pool, width // pool)
        square = square.repeat_interleave(pool, 0).repeat_interleave(pool, 1)

        # A maximum starts from minus infinity.
        pooled = pool > 1
        start = -torch.inf if pooled else 0.0
        return cls(
            keys=layer.background.new_full((n, len(squares), layer.key_dim), start),
            values=layer.background.new_full((n, len(squares), layer.value_dim), start),
            pooled=pooled,
            last_pixel=layer.last_pixel,
            square=square.flatten(),
            background=layer.background.flatten(0, 1),
            content=PixelResidualWeights.of(layer.content),
            to_content=layer.to_content.step_weights(),
            query=PixelResidualWeights.of(layer.query),
            to_query=layer.to_query.step_weights(),
        )

    def write(
        self, position: Tensor, pixel: Tensor, features: Tensor, context: Tensor | None
    ) -> None:
        """Add a pixel to the maxima of the corresponding square.

        Args:
            position: Index of the pixel, (1).
            pixel: Scaled values of the pixel, (N, 1, channels).
            features: Features of the pixel, (N, 1, width).
            context: (N, context_dim).
        """
        coordinates = self._coordinates(position, features)
        content = torch.cat((pixel, features, coordinates), dim=-1)
        content = self.to_content(self.content(content, context))
        key, value = content.split((self.keys.shape[-1], self.values.shape[-1]), dim=-1)

        square = self.square.index_select(0, position)
        for kept, new in ((self.keys, key), (self.values, value)):
            if self.pooled:
                new = torch.maximum(kept.index_select(1, square), new)
            kept.index_copy_(1, square, new)

    def attend(self, position: Tensor, features: Tensor, context: Tensor | None) -> Tensor:
        """Return the attention of a pixel that sees another pixel, (N, 1, value_dim)."""
        coordinates = self._coordinates(position, features)
        content = torch.cat((features, coordinates), dim=-1)
        query = self.to_query(self.query(content, context))

        visible = self.last_pixel < position
        keys, values = self.keys, self.values
        if self.pooled:  # minus infinity times a weight of zero would be NaN
            keys = keys.where(visible.unsqueeze(-1), 0)
            values = values.where(visible.unsqueeze(-1), 0)
        return attend(query, keys, values, mask=visible.unsqueeze(0))

    def _coordinates(self, position: Tensor, features: Tensor) -> Tensor:
        """Return the coordinates of a pixel, (N, 1, 2)."""
        coordinates = self.background.index_select(0, position)
        return coordinates.expand(len(features), 1, 2)
