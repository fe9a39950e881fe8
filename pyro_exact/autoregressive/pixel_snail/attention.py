"""Attention of each pixel to all pixels before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import Pointwise
from pyro_exact.autoregressive.pixel_snail.gated_residual import PixelResidual
from pyro_exact.nn.attend import attend


class PixelAttention(nn.Module):
    r"""Attention in which a pixel sees the pixels before it, and not itself.

    .. math::
        y_t = \sum_{s < t} \mathrm{softmax}_{s < t}\big(q_t \cdot k_s / \sqrt{d}\big)\, v_s

    Keys and values are functions of the image, the features and the coordinates of a pixel; queries
    are functions of the features and the coordinates alone. When a pixel sees no other pixel, the
    attention is zero.

    When ``pool`` is above 1, keys and values are maxima over squares of pixels, and a pixel sees a
    square once all pixels of the square come before it.

    Args:
        channels: Channels of the image.
        width: Channels of the features.
        height: Height of the image.
        image_width: Width of the image.
        key_dim: Channels of queries and keys.
        value_dim: Channels of values.
        pool: Side of the squares.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector.

    Shape:
        - image: (N, H, W, channels); features: (N, H, W, width); returns (N, H, W, value_dim).

    Reference:
        Chen, Mishra, Rohaninejad and Abbeel (2018), PixelSNAIL, section 2.2 and official code
        (`causal_attention`), which also adds 1e-6 to the sum of the weights.
    """

    background: Tensor
    last_pixel: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        height: int,
        image_width: int,
        key_dim: int,
        value_dim: int,
        pool: int,
        dropout: float,
        context_dim: int | None,
    ) -> None:
        super().__init__()
        self.shape = height, image_width
        self.pool = pool
        self.key_dim = key_dim
        self.value_dim = value_dim

        content = channels + width + 2
        self.content = PixelResidual(content, dropout, context_dim)
        self.to_content = Pointwise(content, key_dim + value_dim)
        self.query = PixelResidual(width + 2, dropout, context_dim)
        self.to_query = Pointwise(width + 2, key_dim)

        coordinates = background(height, image_width)
        last = last_pixels(height, image_width, pool)
        self.register_buffer("background", coordinates, persistent=False)
        self.register_buffer("last_pixel", last, persistent=False)

    @property
    def first_seeing(self) -> int:
        """Index of the first pixel that sees another pixel."""
        return (self.pool - 1) * (self.shape[1] + 1) + 1

    def forward(self, image: Tensor, features: Tensor, context: Tensor | None) -> Tensor:
        """Return the attention of all pixels."""
        coordinates = self.background.expand(len(image), -1, -1, -1)

        # k, v: (N, squares, channels)
        content = torch.cat((image, features, coordinates), dim=-1)
        content = self.content(content, context)
        content = self.to_content(content)
        pooled = self._pool(content)
        key, value = pooled.split((self.key_dim, self.value_dim), dim=-1)

        # q: (N, H W, key_dim)
        content = torch.cat((features, coordinates), dim=-1)
        query = self.query(content, context)
        query = self.to_query(query)
        query = query.flatten(1, 2)

        # The first pixels see no keys, so their attention is zero.
        pixels = query.shape[1]
        seeing = torch.arange(pixels, device=query.device)[self.first_seeing :]
        visible = self.last_pixel < seeing.unsqueeze(-1)
        attended = attend(query[:, self.first_seeing :], key, value, mask=visible)

        attended = F.pad(attended, (0, 0, pixels - len(seeing), 0))
        return attended.unflatten(1, self.shape)

    def _pool(self, content: Tensor) -> Tensor:
        """Return the maxima over squares, (N, squares, channels)."""
        if self.pool == 1:
            return content.flatten(1, 2)

        # (N, H / pool, pool, W / pool, pool, channels)
        squares = content.unflatten(2, (-1, self.pool))
        squares = squares.unflatten(1, (-1, self.pool))
        return squares.amax((2, 4)).flatten(1, 2)


def background(height: int, width: int) -> Tensor:
    """Return the coordinates of all pixels, from -1/2 to 1/2, (height, width, 2)."""
    rows = torch.arange(height) / height - 0.5
    columns = torch.arange(width) / width - 0.5

    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack(grid, dim=-1)


def last_pixels(height: int, width: int, pool: int) -> Tensor:
    """Return the index of the last pixel of each square, (squares)."""
    last = pool - 1
    pixels = torch.arange(height * width).view(height, width)
    return pixels[last::pool, last::pool].flatten()
