"""Neural spline flow with coupling layers, on vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.flows.couplings import couplings
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.spline import Spline


def spline_coupling(
    shape: tuple[int],
    length: int = 4,
    bins: int = 8,
    bound: float = 3.0,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a neural spline flow, from data to noise: rational-quadratic `Spline` couplings that exchange the halves.

    Args:
        shape: (dim,), the shape of a vector.
        length: Number of couplings.
        bins: Number of bins of each spline.
        bound: The splines bend [-bound, bound]; outside they change nothing.
        hidden_dims: Widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector that every conditioner sees.
        act_norm: Whether an `ActNorm` precedes each coupling; ``initialize`` sets it from data, and so brings the data
            to where the splines bend.

    Raises:
        ValueError: If the shape is not that of a vector, or the length is not positive.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF (C)).

    Example:
        >>> flow = spline_coupling((2,))
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """
    return couplings(shape, Spline(bins, bound), length, hidden_dims, context_dim, act_norm)
