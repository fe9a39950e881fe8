"""RealNVP on vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.flows.couplings import couplings
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection


def real_nvp(
    shape: tuple[int],
    length: int = 8,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build RealNVP, from data to noise: affine couplings that exchange the halves.

    Args:
        shape: (dim,), the shape of a vector.
        length: Number of couplings.
        hidden_dims: Widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector that every conditioner sees.
        act_norm: Whether an `ActNorm` precedes each coupling, in place of the paper's batch normalisation;
            ``initialize`` sets it from data.

    Raises:
        ValueError: If the shape is not that of a vector, or the length is not positive.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, sections 3.2 to 3.5.

    Example:
        >>> flow = real_nvp((2,))
        >>> flow.initialize(5 + torch.randn(100, 2)).mean().abs() < 1e-5
        tensor(True)
    """
    return couplings(shape, Affine(), length, hidden_dims, context_dim, act_norm)
