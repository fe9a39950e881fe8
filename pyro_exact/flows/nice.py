"""NICE on vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.flows.couplings import couplings, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose


def nice(
    shape: tuple[int],
    length: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
) -> Bijection:
    r"""Build NICE, from data to noise: additive couplings, which preserve volume, and a learned diagonal scale.

    The scale is an `ActNorm`, which has a shift as well.

    Args:
        shape: (dim,), the shape of a vector.
        length: Number of couplings; the paper has 4. Three let each dimension change as a function of all others.
        hidden_dims: Widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector that every conditioner sees.

    Raises:
        ValueError: If the shape is not that of a vector, or the length is not positive.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE: Non-linear Independent Components Estimation, sections 3.2 and 3.3.

    Example:
        >>> flow = nice((3,))
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    layers = couplings(shape, Additive(), length, hidden_dims, context_dim, act_norm=False)
    return Compose([*layers.parts, ActNorm(vector_dim("nice", shape))])
