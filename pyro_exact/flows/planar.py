"""A stack of planar flows."""

from __future__ import annotations

from typing import Literal

from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.planar import Planar


def planar(
    shape: int | tuple[int],
    layers: int = 8,
    context_dim: int | None = None,
    parametrization: Literal["shifted", "paper"] = "shifted",
    act_norm: bool = True,
) -> Bijection:
    r"""Build a planar flow, from noise to latent.

    It is a sequence of planar maps, near the identity at first.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Planar maps, K in the paper.
        context_dim: Size of an optional context vector, for example the output of an encoder in an
            amortised guide.
        parametrization: See `Planar`.
        act_norm: If true, the inverse of an `ActNorm` follows the maps, which scales and
            shifts the latent.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.1.

    Example:
        >>> flow = planar(2, layers=8)
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """
    dim = vector_dim("planar", shape)
    layers = check_layers("planar", layers)
    context_dim = check_context_dim("planar", context_dim)

    maps = Planar(dim, context_dim, parametrization, layers)
    if not act_norm:
        return maps
    return Compose([maps, ActNorm(dim, context_dim=context_dim).inv])
