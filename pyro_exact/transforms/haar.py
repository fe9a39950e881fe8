"""Haar wavelets: of vectors, and of the blocks of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.squeeze import Squeeze

ROOT_HALF = 0.5**0.5


class Haar(Bijection):
    r"""Take a vector, such as a time series, to averages and differences at all resolutions.

    Use it for a flow or a guide of series with structure at several resolutions.

    Of each pair of neighbours

    .. math::
        a = (x_{2 i} + x_{2 i + 1}) / \sqrt 2, \qquad d = (x_{2 i} - x_{2 i + 1}) / \sqrt 2, \qquad
        \log|\det \partial y/\partial x| = 0

    and the same again of the averages, until a single pair or less is left. The map is orthogonal,
    so standard normal noise stays standard normal. The coarsest coefficients come first. It is the
    ``HaarTransform`` of Pyro.

    Args:
        dim: Dimension of the vectors; any positive integer.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: the transpose, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension.

    Reference:
        Haar (1910), Zur Theorie der orthogonalen Funktionensysteme.

    Example:
        >>> Haar(4)(torch.tensor([1.0, 1.0, 1.0, 3.0]))
        tensor([ 3.0000, -1.0000,  0.0000, -1.4142])
    """

    def __init__(self, dim: int) -> None:
        dim = check_size("Haar", "dim", dim)
        super().__init__((dim,))

        # Sizes of the vectors that are split, from the finest resolution to the coarsest.
        self.sizes = [dim]
        while self.sizes[-1] // 2 >= 2:
            self.sizes.append(self.sizes[-1] // 2)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        details: list[Tensor] = []
        for size in self.sizes:
            odd = size % 2
            pairs, rest = x.split([size - odd, odd], dim=-1)
            left, right = pairs.unflatten(-1, (size // 2, 2)).unbind(-1)

            # a = (left + right) / sqrt 2, d = (left - right) / sqrt 2
            x = (left + right) * ROOT_HALF
            difference = (left - right) * ROOT_HALF
            details = [difference, rest, *details]

        y = torch.cat([x, *details], dim=-1)

        return y, x.new_zeros(x.shape[:-1])

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        half = self.sizes[-1] // 2
        x = y[..., :half]
        remaining = y[..., half:]

        for size in reversed(self.sizes):
            count = size // 2
            odd = size % 2
            after = remaining.shape[-1] - count - odd
            difference, rest, remaining = remaining.split(
                [count, odd, after],
                dim=-1,
            )

            # left = (a + d) / sqrt 2, right = (a - d) / sqrt 2
            left = (x + difference) * ROOT_HALF
            right = (x - difference) * ROOT_HALF
            pairs = torch.stack((left, right), dim=-1).flatten(-2)
            x = torch.cat((pairs, rest), dim=-1)

        return x, y.new_zeros(y.shape[:-1])

    def extra_repr(self) -> str:
        return f"{self.event[0]}"


class HaarSqueeze(Squeeze):
    r"""Trade resolution for channels as `Squeeze` does, but keep averages.

    Use it between the scales of an image flow.

    Of the block :math:`\begin{pmatrix} p & q \\ r & s \end{pmatrix}` of each channel

    .. math::
        y = \tfrac12 \begin{pmatrix} 1 & 1 & 1 & 1 \\ 1 & -1 & 1 & -1 \\ 1 & 1 & -1 & -1 \\
        1 & -1 & -1 & 1 \end{pmatrix} \begin{pmatrix} p \\ q \\ r \\ s \end{pmatrix}, \qquad
        \log|\det \partial y/\partial x| = 0

    The first quarter of the channels of ``y`` are the averages of all channels of ``x``, times 2:
    the image at half the resolution. Then follow the differences from left to right, from top to
    bottom, and across. The map is orthogonal.

    Cost:
        - forward: a copy, and a product with a 4 x 4 matrix.
        - inverse: the same.

    Shape:
        - x: (\*batch, C, H, W); y: (\*batch, 4 C, H / 2, W / 2); ladj: (\*batch).

    Raises:
        ValueError: If height or width is odd.

    Reference:
        Ardizzone, Lüth, Kruse, Rother and Köthe (2019), Guided Image Generation with Conditional
        Invertible Neural Networks, section 3.2.

    Example:
        >>> HaarSqueeze()(torch.ones(1, 2, 2)).flatten()
        tensor([2., 0., 0., 0.])
    """

    def __init__(self) -> None:
        super().__init__(2)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        squeezed, ladj = super().transform(x)
        blocks = squeezed.unflatten(-3, (-1, 4))
        p, q, r, s = blocks.unbind(-3)
        y = torch.cat(_butterfly(p, q, r, s), dim=-3)
        return y, ladj

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = _butterfly(*y.chunk(4, dim=-3))  # the matrix is its own inverse
        squeezed = torch.stack(parts, dim=-3).flatten(-4, -3)
        return super().invert(squeezed)


def _butterfly(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """Return half of the sums of four tensors with the signs of the Haar wavelets."""
    top = p + q
    bottom = r + s
    left = p - q
    right = r - s

    return (
        (top + bottom) / 2,
        (left + right) / 2,
        (top - bottom) / 2,
        (left - right) / 2,
    )
