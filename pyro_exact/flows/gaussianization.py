"""The Gaussianization flow: marginals made normal, and rotations."""

from __future__ import annotations

from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.marginal import Marginal
from pyro_exact.transforms.matrix_exponential import Rotation
from pyro_exact.transforms.normal_mixture_cdf import NormalMixtureCDF


def gaussianization(
    shape: int | tuple[int],
    layers: int = 8,
    components: int = 8,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a Gaussianization flow, from data to noise: it makes each dimension normal, rotates, and so on.

    It has no network, and few weights. Scoring takes one pass. A sample takes a guarded Newton
    iteration for each layer, for all dimensions at once.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Number of layers of marginals; a rotation stands between neighbours.
        components: Number of components of each mixture.
        context_dim: Size of an optional context vector for every layer.
        act_norm: Whether an `ActNorm` precedes the layers and another follows (default yes);
            ``initialize`` sets both from data.

    Raises:
        ValueError: If a size is not positive.

    Reference:
        Meng, Song, Song and Ermon (2020), Gaussianization Flows, section 3.

    Example:
        >>> gaussianization(3)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("gaussianization", shape)
    layers = check_layers("gaussianization", layers)
    context_dim = check_context_dim("gaussianization", context_dim)

    parts: list[Bijection] = [ActNorm(dim)] if act_norm else []
    for index in range(layers):
        if index:
            parts.append(Rotation(dim, context_dim))
        parts.append(Marginal(NormalMixtureCDF(components), dim, context_dim))

    if act_norm:
        parts.append(ActNorm(dim))
    return Compose(parts)
