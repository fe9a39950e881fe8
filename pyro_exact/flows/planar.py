"""A stack of planar flows."""

from __future__ import annotations

from typing import Literal

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.planar import Planar


def planar(
    dim: int,
    length: int,
    context_dim: int | None = None,
    parametrization: Literal["shifted", "paper"] = "shifted",
) -> Bijection:
    r"""Build a planar flow: ``length`` planar maps in a row, from noise to latent, near the identity at first.

    Args:
        dim: Dimension of the vectors.
        length: K of the paper, the number of maps.
        context_dim: Size of a context vector that all parameters depend on; an encoder's output
            amortises them.
        parametrization: See `Planar`.

    Raises:
        ValueError: If the dimension or the length is not positive.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.1.

    Example:
        >>> flow = planar(dim=2, length=8)
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """
    return Planar(dim, context_dim, parametrization, length)
