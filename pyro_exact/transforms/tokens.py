"""From a vector or an image to a sequence of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from pyro_exact.checks import check_shape, check_size
from pyro_exact.transforms.bijection import Bijection


class Tokens(Bijection):
    r"""Cut an image into square patches, or a vector into pieces. The log-determinant is zero.

    .. math:: y_{h (W / p) + w,\; c p^2 + i p + j} = x_{c,\, h p + i,\, w p + j}

    Each token is a patch of p x p pixels with all channels; the tokens come row by row. In a
    vector, each token is p neighbours. Use this layer before `TokenAutoregressive`.

    Args:
        shape: Shape of the event: (C, H, W), or the size of a vector.
        patch: p, the side of a patch, or the length of a piece.

    Cost:
        - forward: a copy.
        - inverse: a copy.

    Shape:
        - x: (\*batch, \*shape); y: (\*batch, tokens, elements of a token); ladj: (\*batch).

    Raises:
        ValueError: If the shape is neither that of a vector nor that of an image, or the patches do
            not divide it.

    Example:
        >>> Tokens((3, 4, 4), patch=2)(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 4, 12])
    """

    def __init__(self, shape: int | Sequence[int], patch: int = 1) -> None:
        sizes = check_shape("Tokens", "shape", shape)
        patch = check_size("Tokens", "patch", patch)
        if len(sizes) not in (1, 3):
            raise ValueError(
                f"Tokens expects a shape (dim,) of a vector or (C, H, W) of an image; got {sizes}. "
                f"Pass one of them."
            )

        # The sides are cut; the channels of an image are not.
        sides = sizes[1:] or sizes
        if any(side % patch for side in sides):
            raise ValueError(
                f"Tokens expects patches that divide the sides of the event; got patch={patch} and "
                f"shape {sizes}. Choose a common divisor of {sides}, or pad the event."
            )

        grid = tuple(side // patch for side in sides)
        tokens = prod(grid)
        token_dim = prod(sizes) // tokens

        super().__init__(sizes, (tokens, token_dim))
        self.shape = sizes
        self.patch = patch
        self.grid = grid
        self.tokens = tokens
        self.token_dim = token_dim

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch = x.shape[: x.dim() - len(self.shape)]
        ladj = x.new_zeros(batch)
        if len(self.shape) == 1:
            return x.reshape(*batch, self.tokens, self.token_dim), ladj

        # (*batch, C, H / p, p, W / p, p) -> (*batch, H / p, W / p, C, p, p)
        blocks = x.unflatten(-1, (-1, self.patch))
        blocks = blocks.unflatten(-3, (-1, self.patch))
        patches = blocks.movedim((-5, -3), (-3, -2))

        return patches.reshape(*batch, self.tokens, self.token_dim), ladj

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch = y.shape[:-2]
        ladj = y.new_zeros(batch)
        if len(self.shape) == 1:
            return y.reshape(*batch, *self.shape), ladj

        # (*batch, H / p, W / p, C, p, p) -> (*batch, C, H / p, p, W / p, p)
        channels = self.shape[0]
        patch = self.patch
        patches = y.reshape(*batch, *self.grid, channels, patch, patch)
        blocks = patches.movedim((-3, -2), (-5, -3))

        return blocks.reshape(*batch, *self.shape), ladj

    def extra_repr(self) -> str:
        return f"{self.shape}, patch={self.patch}"
