"""Features of positions: learned, or sinusoids of several frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["learned", "sinusoidal"]

LONGEST_WAVE = 10_000.0  # over 2 pi: Vaswani et al. (2017), section 3.5


class Positions(nn.Module):
    """A vector for each position of a grid, which is added to the input of a transformer.

    ``"learned"``: the sum of a learned vector for each coordinate. ``"sinusoidal"``: each axis has
    an equal share of the channels, for sines, then cosines of the coordinate, with wavelengths from
    2 pi to 10,000 times this value.

    Args:
        grid: Sizes of the axes.
        width: Size of a vector.
        kind: The type of the vectors (default ``"learned"``).
        order: Optional order of the positions: a permutation of the indices in row-major order,
            which is the default.

    Shape:
        - returns (positions, width), in this order.

    Reference:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017), Attention
        Is All You Need, section 3.5; Parmar et al. (2018), Image Transformer, section 3.1.
    """

    table: Tensor

    order: Tensor | None

    def __init__(
        self,
        grid: Sequence[int],
        width: int,
        kind: Kind = "learned",
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        if order is not None and order.shape != (prod(grid),):
            raise ValueError(
                f"CausalTransformer expects an order of {prod(grid)} positions; got shape "
                f"{tuple(order.shape)}. Pass a permutation."
            )

        self.register_buffer("order", order, persistent=False)
        self.kind = kind
        if kind == "learned":
            self.axes = nn.ParameterList(0.01 * torch.randn(size, width) for size in grid)
        else:
            self.register_buffer("table", sinusoids(grid, width), persistent=False)

    def forward(self) -> Tensor:
        """Return the vectors of all positions."""
        table = self.table if self.kind == "sinusoidal" else self._learned()
        return table if self.order is None else table.index_select(0, self.order)

    def _learned(self) -> Tensor:
        """Return the sums of the learned vectors in row-major order."""
        vectors: list[Tensor] = list(self.axes)
        total = vectors[0]
        for vector in vectors[1:]:
            total = total[..., None, :] + vector

        return total.flatten(0, -2)


def sinusoids(grid: Sequence[int], width: int) -> Tensor:
    """Return the sinusoidal vectors of a grid, (positions, width)."""
    waves = width // (2 * len(grid))
    exponents = torch.arange(waves) / max(waves - 1, 1)
    frequencies = torch.exp(-math.log(LONGEST_WAVE) * exponents)

    axes = []
    for coordinate in torch.meshgrid(*map(torch.arange, grid), indexing="ij"):
        angles = coordinate.flatten()[:, None] * frequencies
        axes += [angles.sin(), angles.cos()]

    table = torch.cat(axes, dim=-1)

    return nn.functional.pad(table, (0, width - table.shape[-1]))
