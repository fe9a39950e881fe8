"""A continuous flow: points move along the solution of a differential equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from pyro_exact.checks import check_number, check_size
from pyro_exact.nn.velocity import Velocity
from pyro_exact.transforms.bijection import Bijection

Divergence = Literal["exact", "estimate"]


class ContinuousFlow(Bijection):
    r"""Move points along a velocity that a network computes, from time 0 to time 1.

    Use this layer where a single smooth map should do the work of many layers, or to train a flow
    by `pyro_exact.infer.flow_matching_loss`, which needs no solver.

    .. math::
        \frac{dx}{dt} = v(t, x, c), \qquad
        \log|\det \partial y / \partial x| = \int_0^1 \operatorname{div} v(t, x(t), c)\, dt

    Both integrals are solved together, using an adaptive Runge-Kutta method of
    `torchdiffeq <https://github.com/rtqichen/torchdiffeq>`_. Unlike that of all other layers, the
    log-determinant is exact only up to ``tolerance``, and so is the inverse. The solver chooses
    the steps for a whole batch, so that values may differ between batches by the same tolerance.
    `torch.compile` and `torch.func.vmap` cannot trace the solver.

    Args:
        dim: Dimension of the vectors.
        hidden_dims: Widths of the hidden layers of the `pyro_exact.nn.Velocity`.
        context_dim: Size of an optional context vector.
        divergence: ``"exact"`` (the default), or ``"estimate"`` for Hutchinson's estimator using a
            random sign for each element: then the log-determinant is a random number whose mean is
            correct, so the density is an estimate as well. Use it for hundreds of dimensions.
        tolerance: Relative and absolute error of each step of the solver. It is raised to ten times
            the precision of the type of the weights, if it is below.

    Cost:
        - forward: :math:`O(H D)` for an evaluation of the network, with a factor :math:`D` for each
          hidden layer but the first if the divergence is exact; 14 evaluations or more.
        - inverse: the same.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If a size is not positive, the tolerance is not positive, or ``divergence`` is
            unknown.

    Reference:
        Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural Ordinary Differential Equations,
        section 4; Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD, section 3.

    Example:
        >>> layer = ContinuousFlow(3)
        >>> x = torch.randn(5, 3)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-4)
        True
    """

    def __init__(
        self,
        dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int | None = None,
        divergence: Divergence = "exact",
        tolerance: float = 1e-5,
    ) -> None:
        dim = check_size("ContinuousFlow", "dim", dim)
        super().__init__((dim,), context_dim=context_dim)
        if divergence not in ("exact", "estimate"):
            raise ValueError(
                f"ContinuousFlow expects divergence 'exact' or 'estimate'; got {divergence!r}. "
                f"Choose one."
            )

        self.velocity = Velocity(dim, hidden_dims, context_dim)
        self.divergence = divergence
        self.tolerance = check_number(
            "ContinuousFlow", "tolerance", tolerance, 0, 1, open_ends=True
        )

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._solve(x, context, 0.0, 1.0)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._solve(y, context, 1.0, 0.0)

    def extra_repr(self) -> str:
        return f"{self.velocity.dim}, divergence={self.divergence!r}, tolerance={self.tolerance:g}"

    def _solve(
        self, x: Tensor, context: Tensor | None, start: float, end: float
    ) -> tuple[Tensor, Tensor]:
        """Integrate the points and the divergence from one time to another."""
        from torchdiffeq import odeint

        derivative = self._derivative(x, context)

        def together(t: Tensor, state: Tensor) -> Tensor:
            v, divergence = derivative(t, state[..., :-1])
            return torch.cat((v, divergence.unsqueeze(-1)), -1)

        state = torch.cat((x, torch.zeros_like(x[..., :1])), -1)
        if state.numel() == 0:  # the solver cannot take the norm of an empty error
            return state[..., :-1], state[..., -1]

        times = torch.tensor([start, end], dtype=x.dtype, device=x.device)
        error = max(self.tolerance, 10 * torch.finfo(x.dtype).eps)
        solution: Tensor = odeint(
            together, state, times, rtol=error, atol=error, options={"norm": _largest}
        )
        return solution[-1, ..., :-1], solution[-1, ..., -1]

    def _derivative(
        self, x: Tensor, context: Tensor | None
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the function of t and x that returns the velocity and its divergence."""
        if self.divergence == "exact":
            return lambda t, x: self.velocity.with_divergence(t, x, context)

        # Random signs, the same for the whole path
        noise = torch.randint_like(x, 2).mul(2).sub(1)
        return lambda t, x: self.velocity.with_estimate(t, x, noise, context)


def _largest(error: Tensor) -> Tensor:
    """Return the largest error, so that no row of a large batch is less exact than others."""
    return error.abs().max()
