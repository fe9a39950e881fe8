"""A stack of coupling layers on vectors, for any formula."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pyro_exact.checks import check_sizes
from pyro_exact.flows.arguments import (
    check_context_dim,
    check_elementwise,
    check_layers,
    vector_dim,
)
from pyro_exact.flows.stack import stack
from pyro_exact.nn.conditioner import DenseConditioner
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.partition import Halves


def couplings(
    shape: int | tuple[int],
    elementwise: Elementwise,
    layers: int = 8,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
) -> Compose:
    r"""Build a stack of `Coupling` layers with any formula, from data to noise.

    Neighbouring couplings exchange the `Halves` of the vector. Use this function when a formula has
    no builder.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        elementwise: The formula, for example ``MixtureCDF(8)``, copied for each coupling.
        layers: Coupling layers.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.DenseConditioner`.
        context_dim: Size of a context vector used by every conditioner.
        act_norm: If true (default), an `ActNorm` precedes each coupling and follows the last;
            ``initialize`` should be called to set these.
        shuffle: If true, the even places are moved before the odd places between two couplings, so
            that each pair is soon in different halves.

    Raises:
        ValueError: If this is not the shape of a vector, or ``layers`` is not positive.

    Example:
        >>> flow = couplings(3, MixtureCDF(8), layers=4)
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("couplings", shape)
    layers = check_layers("couplings", layers)
    hidden_dims = check_sizes("couplings", "hidden_dims", hidden_dims)
    context_dim = check_context_dim("couplings", context_dim)
    elementwise = check_elementwise("couplings", elementwise)

    def coupling(swap: bool) -> Coupling:
        halves = Halves(dim, swap)
        net = DenseConditioner(
            halves.fixed_size, halves.free_size, elementwise.num_params, hidden_dims, context_dim
        )
        return Coupling(halves, deepcopy(elementwise), net)  # a formula may have parameters

    parts = [coupling(swap=i % 2 == 1 and dim > 1) for i in range(layers)]  # one element is free

    return stack(parts, dim, act_norm, shuffle)
