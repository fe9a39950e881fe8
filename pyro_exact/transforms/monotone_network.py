"""The unconstrained monotone network: the integral of a positive network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_number, check_size, check_sizes
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.elementwise import tanh_bounded
from pyro_exact.transforms.monotone import Monotone, Parts

LARGEST_BOUND = 1e12
MOST_NODES = 256


class MonotoneNetwork(Monotone):
    r"""Integrate a positive network over an element.

    Use this formula for maps of any shape, learned without constraints.

    .. math::
        y = \beta + \int_0^x g(u; h)\, du, \qquad
        \log|\partial y/\partial x| = \log g(x; h)

    :math:`\log g` is a dense network of :math:`u / B` and of the embedding :math:`h`, softly
    bounded to :math:`[-m, m]`. The weights belong to the formula. The hidden layers are smooth, so
    that Gauss-Legendre quadrature converges exponentially; outside of :math:`[-B, B]` the integrand
    is constant. The parameters are :math:`\beta` and the embedding. The last layer of the network
    starts at zero, which gives the identity.

    The value is exact up to the quadrature: with 32 nodes and weights of ordinary size the error is
    that of rounding. The inverse is that of the computed value.

    Args:
        embedding_dim: Size of :math:`h`.
        hidden_dims: Widths of the hidden layers of the integrand.
        bound: :math:`B`, in units of ``x``.
        nodes: Nodes of the quadrature, from 4 to 256.
        max_log_slope: :math:`m`, the largest logarithm of the slope, in absolute value.

    Cost:
        - forward: as many evaluations of the integrand as there are nodes, for each element.
        - inverse: guarded Newton steps are used, each of the same cost.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 1 + embedding_dim).

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Wehenkel and Louppe (2019), Unconstrained Monotonic Neural Networks, equations 1 and 5.

    Example:
        >>> formula, x = MonotoneNetwork(4, (8,)), torch.tensor([-2.0, 0.0, 30.0])
        >>> formula.forward_and_ladj(x, torch.zeros(3, 5))[0].tolist()
        [-2.0, 0.0, 30.0]
    """

    def __init__(
        self,
        embedding_dim: int = 16,
        hidden_dims: Sequence[int] = (32, 32),
        bound: float = 10.0,
        nodes: int = 32,
        max_log_slope: float = 5.0,
    ) -> None:
        super().__init__()
        name = "MonotoneNetwork"
        self.embedding_dim = check_size(name, "embedding_dim", embedding_dim)
        hidden_dims = check_sizes(name, "hidden_dims", hidden_dims)
        self.bound = check_number(name, "bound", bound, 1e-6, LARGEST_BOUND)
        self.nodes = check_size(name, "nodes", nodes, 4, MOST_NODES)
        self.quadrature = gauss_legendre(self.nodes)
        self.max_log_slope = check_number(name, "max_log_slope", max_log_slope, 1e-3, 20)
        self.num_params = 1 + self.embedding_dim

        # The first layer is split: the embedding enters all nodes of an element alike.
        first, *rest = [*hidden_dims, 1]
        self.element = nn.Linear(1, first, bias=False)
        self.embedding = nn.Linear(self.embedding_dim, first)
        self.layers = nn.ModuleList(
            nn.Linear(below, above) for below, above in pairwise([first, *rest])
        )

        last = self.layers[-1] if len(self.layers) else self.element
        for weight in last.parameters():
            nn.init.zeros_(weight)

    def unpack(self, theta: Tensor) -> Parts:
        r"""Return :math:`\beta`, and the share of the embedding in the first hidden layer."""
        with full_precision(theta):
            shift = theta[..., 0]
            hidden = linear(self.embedding, theta[..., 1:])
            return shift, hidden

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        shift, hidden = parts
        inner = x.clamp(-self.bound, self.bound)
        nodes, weights = (x.new_tensor(values) for values in self.quadrature)

        # A last node at x itself, where the value of the integrand is the slope.
        places = torch.cat((nodes, nodes.new_ones(1)))
        u = inner.unsqueeze(-1) * places
        log_g = self._log_integrand(u, hidden.unsqueeze(-2))
        log_slope = log_g[..., -1]

        # The integral from 0 to x is x times the weighted mean of g.
        terms = weights * log_g[..., :-1].exp()
        area = inner * terms.sum(-1)
        tail = log_slope.exp() * (x - inner)

        return shift + area + tail, log_slope

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds that the least and the largest slope allow."""
        distance = y - parts[0]
        most = math.exp(self.max_log_slope)
        near = distance / (2 * most)
        far = 2 * distance * most

        return torch.minimum(near, far), torch.maximum(near, far)

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the root that the identity would have."""
        return (y - parts[0]).clamp(low, high)

    def _log_integrand(self, u: Tensor, hidden: Tensor) -> Tensor:
        r"""Return log g at nodes u (\*shape of x, n), for an embedding (\*shape of x, 1, first)."""
        with full_precision(u):
            scaled = u.unsqueeze(-1) / self.bound
            h = linear(self.element, scaled) + hidden
            for layer in self.layers:
                h = linear(layer, h.tanh())

        return tanh_bounded(h.squeeze(-1), self.max_log_slope)

    def extra_repr(self) -> str:
        return f"bound={self.bound}, nodes={self.nodes}"


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a linear layer in the precision of the input."""
    weight = layer.get_parameter("weight").to(x)
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias = bias.to(x)

    return F.linear(x, weight, bias)


def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Return the nodes and the weights of the Gauss-Legendre quadrature on [0, 1]."""
    # From [-1, 1] to [0, 1].
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes = (nodes + 1) / 2
    weights = weights / 2

    return nodes.tolist(), weights.tolist()
