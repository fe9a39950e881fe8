"""From the values of sites to the inputs of a transformer."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pyro_exact.checks import check_elements


class LevelEmbedding(nn.Module):
    r"""A vector for each level of each colour, times the square root of the width.

    Args:
        colours: Colours, which come in sequence.
        levels: Levels.
        width: Size of a vector.

    Shape:
        - x: (N, positions), levels; colour: (positions); returns (N, positions, width).

    Reference:
        Parmar et al. (2018), Image Transformer, section 3.1, and official code.
    """

    def __init__(self, colours: int, levels: int, width: int) -> None:
        super().__init__()
        check_elements("ImageTransformer", colours, levels, width)
        self.levels, self.scale = levels, math.sqrt(width)
        self.vectors = nn.Embedding(colours * levels, width)
        nn.init.normal_(self.vectors.weight, std=1 / self.scale)

    def forward(self, x: Tensor, colour: Tensor) -> Tensor:
        """Return the vectors of levels."""
        index = x.long() + self.levels * colour
        embedded: Tensor = self.vectors(index)
        return self.scale * embedded


class PixelEmbedding(nn.Module):
    r"""A rectified linear map from the channels of a pixel, scaled to [-1, 1].

    Args:
        channels: Channels of a pixel.
        levels: Levels.
        width: Size of a vector.

    Shape:
        - x: (N, positions, channels); returns (N, positions, width).

    Reference:
        Official code of Image Transformer, for mixtures of logistics: a 1 x 3 convolution over the
        colours.
    """

    def __init__(self, channels: int, levels: int, width: int) -> None:
        super().__init__()
        self.levels = levels
        self.linear = nn.Linear(channels, width)

    def forward(self, x: Tensor, colour: Tensor) -> Tensor:
        """Return the vectors of pixels, whose colours come at once."""
        scaled = x * (2 / (self.levels - 1)) - 1
        embedded: Tensor = self.linear(scaled)
        return embedded.relu()
