"""A network for the velocity of a continuous flow, with the divergence of its output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_size, check_sizes

FREQUENCIES = 3  # of the time: cos and sin of pi t, 2 pi t and 3 pi t


class Velocity(nn.Module):
    r"""A dense network :math:`v(t, x, c)` that moves points along a continuous flow.

    Derivatives with respect to ``x`` are propagated forward through the layers, together with the
    values. So neither the exact divergence nor an estimate needs automatic differentiation:

    .. math::
        a_1 = W_1 x + U_1 (t, c), \qquad a_{k+1} = W_{k+1}\, \sigma(a_k) + b_{k+1}, \qquad
        \frac{\partial a_{k+1}}{\partial x}
        = W_{k+1} \operatorname{diag}(\sigma'(a_k))\, \frac{\partial a_k}{\partial x}

    with :math:`\sigma(a) = a / (1 + e^{-a})`. The last layer starts at zero, so that a flow starts
    at the identity.

    Args:
        dim: Dimension of ``x``.
        hidden_dims: Widths of the hidden layers, at least one.
        context_dim: Size of an optional context vector.

    Shape:
        - t: (); x: (\*batch, dim); context: (\*batch, context_dim).
        - velocity: (\*batch, dim); divergence: (\*batch).

    Raises:
        ValueError: If a size is not positive, or there is no hidden layer.

    Example:
        >>> velocity = Velocity(3, (16,))
        >>> v, divergence = velocity.with_divergence(torch.tensor(0.5), torch.randn(5, 3))
        >>> v.shape, divergence.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self, dim: int, hidden_dims: Sequence[int] = (64, 64), context_dim: int | None = None
    ) -> None:
        super().__init__()
        self.dim = check_size("Velocity", "dim", dim)
        hidden_dims = check_sizes("Velocity", "hidden_dims", hidden_dims)
        if not hidden_dims:
            raise ValueError(
                "Velocity expects hidden_dims of at least one layer; got none. Pass a width, for "
                "example (64,)."
            )
        self.context_dim = context_dim

        given = 1 + 2 * FREQUENCIES + (context_dim or 0)
        self.first = nn.Linear(dim, hidden_dims[0], bias=False)
        self.conditions = nn.Linear(given, hidden_dims[0])
        layers = (nn.Linear(m, n) for m, n in pairwise(hidden_dims))
        self.hidden: Sequence[nn.Linear] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.last = nn.Linear(hidden_dims[-1], dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the velocity at the time ``t``."""
        a = self._first(t, x, context)
        for layer in self.hidden:
            a = layer(F.silu(a))
        velocity: Tensor = self.last(F.silu(a))
        return velocity

    def with_divergence(
        self, t: Tensor, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return the velocity, and the divergence :math:`\sum_i \partial v_i / \partial x_i`.

        With a single hidden layer this costs as much as the velocity; each further layer costs
        ``dim`` times as much.
        """
        a = self._first(t, x, context)

        # da/dx, with the dimension of x before that of a
        tangent = self.first.weight.mT
        for layer in self.hidden:
            tangent = F.linear(_slope(a).unsqueeze(-2) * tangent, layer.weight)
            a = layer(F.silu(a))

        # sum_ij W_ij slope_j (da_j / dx_i)
        weighted = _slope(a).unsqueeze(-2) * tangent
        divergence = (weighted * self.last.weight).sum((-2, -1))
        return self.last(F.silu(a)), divergence

    def with_estimate(
        self, t: Tensor, x: Tensor, noise: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return the velocity, and :math:`\epsilon^\top (\partial v / \partial x)\, \epsilon`.

        The expected value of this product is the divergence when the covariance of the noise is the
        identity (Hutchinson's estimator).
        """
        a, tangent = self._first(t, x, context), self.first(noise)
        for layer in self.hidden:
            tangent = F.linear(_slope(a) * tangent, layer.weight)
            a = layer(F.silu(a))

        product = F.linear(_slope(a) * tangent, self.last.weight)
        return self.last(F.silu(a)), (noise * product).sum(-1)

    def _first(self, t: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the first hidden layer, before the activation."""
        k = torch.arange(1, FREQUENCIES + 1, dtype=x.dtype, device=x.device)
        angles = math.pi * k * t.unsqueeze(-1)
        conditions = torch.cat((t.unsqueeze(-1), angles.cos(), angles.sin()), -1)

        if context is not None:
            conditions = torch.cat((conditions.expand(*x.shape[:-1], -1), context), -1)
        first: Tensor = self.first(x) + self.conditions(conditions)
        return first


def _slope(a: Tensor) -> Tensor:
    """Return the derivative of the activation a / (1 + exp(-a))."""
    gate = a.sigmoid()
    return gate * (1 + a * (1 - gate))
