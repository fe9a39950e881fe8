"""A stack of Sylvester flows."""

from __future__ import annotations

from typing import Literal

from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.sylvester import Sylvester


def sylvester(
    shape: int | tuple[int],
    layers: int = 4,
    rank: int | None = None,
    variant: Literal["orthogonal", "householder", "triangular"] = "orthogonal",
    context_dim: int | None = None,
    reflections: int = 8,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a Sylvester flow, from noise to latent: a sequence of `Sylvester` layers.

    Every second layer of the triangular variant uses the reversing permutation, as in the paper.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Flow layers; the paper uses 4.
        rank: Hidden units of each layer, at most ``dim``; `None` for ``dim``, as in the Householder
            and triangular variants of the paper.
        variant: The type of the layers; see `Sylvester`.
        context_dim: Size of an optional context vector, for example the output of an encoder in an
            amortised guide.
        reflections: Reflections of each layer of the Householder variant; the paper uses
            8.
        act_norm: If true, the inverse of an `ActNorm` follows the layers, which scales
            and shifts the latent.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive, or the rank is out of
            range.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, section 3, and section 6 for the sizes.

    Example:
        >>> flow = sylvester(6, layers=4, rank=2)
        >>> flow(torch.randn(5, 6)).shape
        torch.Size([5, 6])
    """
    dim = vector_dim("sylvester", shape)
    layers = check_layers("sylvester", layers)
    context_dim = check_context_dim("sylvester", context_dim)

    def layer(index: int) -> Sylvester:
        reverse = variant == "triangular" and index % 2 == 1
        return Sylvester(dim, rank, variant, context_dim, reflections, reverse=reverse)

    parts: list[Bijection] = [layer(i) for i in range(layers)]
    if act_norm:
        parts.append(ActNorm(dim, context_dim=context_dim).inv)

    return Compose(parts)
