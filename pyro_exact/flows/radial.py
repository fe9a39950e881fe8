"""A stack of radial flows."""

from __future__ import annotations

from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.radial import Radial


def radial(
    shape: int | tuple[int],
    layers: int = 8,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a radial flow, from noise to latent.

    It is a sequence of radial maps, near the identity at first.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Radial maps, K in the paper.
        context_dim: Size of an optional context vector, for example the output of an encoder in an
            amortised guide.
        act_norm: If true, the inverse of an `ActNorm` follows the maps, which scales and
            shifts the latent.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.1.

    Example:
        >>> flow = radial(2, layers=8)
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """
    dim = vector_dim("radial", shape)
    layers = check_layers("radial", layers)
    context_dim = check_context_dim("radial", context_dim)

    maps = Radial(dim, context_dim, layers)
    if not act_norm:
        return maps
    return Compose([maps, ActNorm(dim, context_dim=context_dim).inv])
