"""Spline flows on circles and tori."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_sizes
from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.nn.conditioner import Conditioner, DenseConditioner
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.circular_spline import CircularSpline
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.marginal import Marginal
from pyro_exact.transforms.partition import Halves


def circular_spline(
    shape: int | tuple[int],
    layers: int = 6,
    bins: int = 8,
    bound: float = math.pi,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
) -> Compose:
    r"""Build a spline flow on a torus, from data to noise.

    Use this flow for angles, for example directions or torsions.

    Each dimension is a circle, the interval [-bound, bound) with the ends joined. The networks of
    the couplings see the cosine and the sine of each angle, so that no density has a jump at the
    cut. Because the noise is uniform, `pyro_exact.distributions.UniformBox` must be used as the
    base.

    Both directions of this flow take a single pass.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Coupling layers, which exchange the halves of the vector.
        bins: Bins of each spline.
        bound: Half of the length of each circle; pi for angles in radians.
        hidden_dims: Widths of the hidden layers of each network.
        context_dim: Size of a context vector used by every network.

    Raises:
        ValueError: If a size is not positive.

    Reference:
        Rezende, Papamakarios et al. (2020), Normalizing Flows on Tori and Spheres, sections 2.1.3
        and 2.2.

    Example:
        >>> flow = circular_spline(2)
        >>> flow(torch.tensor([[3.0, -3.0]])).abs().max() <= torch.pi
        tensor(True)
    """
    dim = vector_dim("circular_spline", shape)
    layers = check_layers("circular_spline", layers)
    hidden_dims = check_sizes("circular_spline", "hidden_dims", hidden_dims)
    context_dim = check_context_dim("circular_spline", context_dim)

    def coupling(swap: bool) -> Coupling:
        formula, halves = CircularSpline(bins, bound), Halves(dim, swap)
        sizes = 2 * halves.fixed_size, halves.free_size
        net = DenseConditioner(*sizes, formula.num_params, hidden_dims, context_dim)
        return Coupling(halves, formula, OnCircle(net, formula.bound))

    def layer(index: int) -> Bijection:
        if dim == 1:  # there is no other half
            return Marginal(CircularSpline(bins, bound), dim, context_dim)
        return coupling(swap=index % 2 == 1)

    flow = Compose([layer(index) for index in range(layers)])
    circle = constraints.interval(-bound, bound)
    flow.domain = flow.codomain = constraints.independent(circle, 1)
    return flow


class OnCircle(Conditioner):
    """A network that takes the cosines and sines of angles.

    Args:
        net: The network, with twice as many inputs.
        bound: Half of the length of a circle.
    """

    def __init__(self, net: DenseConditioner, bound: float) -> None:
        size = None if net.in_size is None else net.in_size // 2
        super().__init__(size, net.context_shape)
        self.net, self.bound = net, bound

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        angle = x * (math.pi / self.bound)
        return self.net(torch.cat((angle.cos(), angle.sin()), dim=-1), context)
