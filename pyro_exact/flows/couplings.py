"""A stack of coupling layers on vectors, for any formula."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pyro_exact.checks import check_sizes
from pyro_exact.flows.arguments import (
    check_context_dim,
    check_elementwise,
    check_length,
    vector_dim,
)
from pyro_exact.nn.conditioner import DenseConditioner
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.partition import Halves


def couplings(
    shape: tuple[int],
    elementwise: Elementwise,
    length: int = 8,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Compose:
    r"""Build a stack of `Coupling` layers with one formula, from data to noise; neighbours exchange the `Halves`.

    Args:
        shape: (dim,), the shape of a vector.
        elementwise: The formula, e.g. ``MixtureCDF(8)``, of which each coupling gets a copy.
        length: Number of couplings.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.DenseConditioner`.
        context_dim: Size of a context vector that every conditioner sees.
        act_norm: Whether an `ActNorm` precedes each coupling; ``initialize`` sets it from data.

    Raises:
        ValueError: If the shape is not that of a vector, or the length is not positive.

    Example:
        >>> flow = couplings((3,), MixtureCDF(8), length=4)
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("couplings", shape)
    length = check_length(length)
    hidden_dims = check_sizes("couplings", "hidden_dims", hidden_dims)
    context_dim = check_context_dim("couplings", context_dim)
    elementwise = check_elementwise("couplings", elementwise)

    def coupling(swap: bool) -> Coupling:
        halves = Halves(dim, swap)
        sizes = halves.fixed_size, halves.free_size
        net = DenseConditioner(*sizes, elementwise.num_params, hidden_dims, context_dim)
        return Coupling(
            halves, deepcopy(elementwise), net
        )  # it may learn: each coupling has its own

    parts: list[Bijection] = []
    for i in range(length):
        if act_norm:
            parts.append(ActNorm(dim))
        parts.append(
            coupling(swap=i % 2 == 1 and dim > 1)
        )  # one number is the second half: never fix it
    return Compose(parts)
