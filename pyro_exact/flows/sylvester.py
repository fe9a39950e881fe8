"""A stack of Sylvester flows."""

from __future__ import annotations

from typing import Literal

from pyro_exact.checks import check_size
from pyro_exact.flows.arguments import check_length
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.sylvester import Sylvester


def sylvester(
    dim: int,
    length: int,
    rank: int | None = None,
    variant: Literal["orthogonal", "householder", "triangular"] = "orthogonal",
    context_dim: int | None = None,
    reflections: int = 8,
) -> Bijection:
    r"""Build a Sylvester flow: ``length`` `Sylvester` layers in a row, from noise to latent.

    Every second layer of the triangular variant has the reversing permutation, as in the paper.

    Args:
        dim: Dimension of the vectors.
        length: Number of layers; the paper has 4.
        rank: Number of hidden units of each layer, at most ``dim``; `None` for ``dim``, as in the
            paper's Householder and triangular variants.
        variant: See `Sylvester`.
        context_dim: Size of a context vector that all parameters depend on; an encoder's output
            amortises them.
        reflections: Number of reflections of each layer of the Householder variant; the paper has
            8.

    Raises:
        ValueError: If the dimension or the length is not positive, or the rank is out of range.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, section 3, and section 6 for the sizes.

    Example:
        >>> flow = sylvester(dim=6, length=4, rank=2)
        >>> flow(torch.randn(5, 6)).shape
        torch.Size([5, 6])
    """
    dim, length = check_size("sylvester", "dim", dim), check_length(length)
    layers = [
        Sylvester(
            dim,
            rank,
            variant,
            context_dim,
            reflections,
            reverse=variant == "triangular" and i % 2 == 1,
        )
        for i in range(length)
    ]
    return Compose(layers)
