"""A stack of layers with normalisations between them."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose


def normalised(layers: Sequence[Bijection], dim: int) -> Compose:
    """Return the layers with an `ActNorm` before each of them, and one after the last.

    The first one makes training independent of the units of the data. The others bring the input of
    each layer to where a formula such as a spline can bend it. The first and the last one let the
    flow scale and shift its output in both directions, which a spline alone cannot.
    """
    parts: list[Bijection] = []
    for layer in layers:
        parts += [ActNorm(dim), layer]

    return Compose([*parts, ActNorm(dim)])
