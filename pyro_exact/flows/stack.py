"""A stack of layers with normalisations and permutations between them."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.permute import Permute


def stack(layers: Sequence[Bijection], dim: int, act_norm: bool, shuffle: bool) -> Compose:
    """Return the layers in a row, with other layers between them.

    Args:
        layers: Layers on vectors of size ``dim``.
        dim: Dimension of the vectors.
        act_norm: If true, an `ActNorm` precedes each layer and follows the last. The first makes
            training independent of the units of the data. Each following `ActNorm` brings the input
            of a layer to the interval where a spline can bend it. The first and the last are
            required to scale and shift the output in both directions, which a spline alone cannot.
        shuffle: If true, the vector is dealt into two halves after each layer but the last, using
            `dealt`.
    """
    parts: list[Bijection] = []
    for index, layer in enumerate(layers):
        if shuffle and index > 0 and dim > 2:
            parts.append(Permute(dealt(dim)))
        if act_norm:
            parts.append(ActNorm(dim))
        parts.append(layer)

    if act_norm:
        parts.append(ActNorm(dim))
    return Compose(parts)


def dealt(dim: int) -> list[int]:
    """Return the permutation that takes the even places first, then the odd places.

    When repeated between couplings of halves, it brings each pair into different halves.
    """
    return [*range(0, dim, 2), *range(1, dim, 2)]
