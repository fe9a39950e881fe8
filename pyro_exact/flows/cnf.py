"""Continuous normalising flows."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.flows.arguments import check_context_dim, vector_dim
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.continuous_flow import ContinuousFlow, Divergence


def cnf(
    shape: int | tuple[int],
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    divergence: Divergence = "exact",
    tolerance: float = 1e-5,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a continuous normalising flow (FFJORD), from data to noise.

    Train it using the likelihood, like any other flow, or faster using
    `pyro_exact.infer.flow_matching_loss`, which does not solve an equation.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        hidden_dims: Widths of the hidden layers of the network that computes the velocity.
        context_dim: Size of an optional context vector.
        divergence: ``"exact"``, or ``"estimate"`` for a random estimate of the density; see
            `ContinuousFlow`.
        tolerance: Error of each step of the solver; the density is exact up to this tolerance.
        act_norm: If true, an `ActNorm` comes first, which standardises the data.

    Raises:
        ValueError: If a size or the tolerance is not positive.

    Reference:
        Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD, section 3.

    Example:
        >>> cnf(3)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("cnf", shape)
    check_context_dim("cnf", context_dim)

    flow = ContinuousFlow(dim, hidden_dims, context_dim, divergence, tolerance)
    return Compose([ActNorm(dim), flow]) if act_norm else Compose([flow])
