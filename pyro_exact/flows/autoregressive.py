"""Inverse and masked autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from pyro_exact.flows.arguments import (
    LOG_SCALE_BOUND,
    check_context_dim,
    check_elementwise,
    check_hidden_dims,
    check_layers,
    vector_dim,
)
from pyro_exact.flows.stack import dealt, stack
from pyro_exact.nn.conditioner import CausalConditioner
from pyro_exact.nn.graph_dense import GraphDense
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.masked_autoregressive import MaskedAutoregressive
from pyro_exact.transforms.spline import Spline


def iaf(
    shape: int | tuple[int],
    layers: int = 4,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build an inverse autoregressive flow, from noise to latent.

    Use this flow as a guide, because sampling takes a single pass.

    Every second layer takes the dimensions in reverse order.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Flow layers, T in the paper.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` to let
            the network choose.
        context_dim: Size of a context vector used by every network, for example the h of the
            encoder in the paper.
        elementwise: The formula, copied for each layer (default ``Affine()``). The paper uses
            ``Affine("sigmoid")``, up to the shift.
        act_norm: If true, the inverse of an `ActNorm` follows the layers, which scales
            and shifts the latent.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive, or a hidden layer is
            too narrow.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 4 and algorithm 1.

    Example:
        >>> flow = iaf(3, context_dim=6)
        >>> flow.condition(torch.randn(5, 6))(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    context_dim = check_context_dim("iaf", context_dim)
    formula = Affine() if elementwise is None else elementwise
    parts = _layers("iaf", shape, layers, hidden_dims, context_dim, formula)

    if not act_norm:
        return Compose(parts)
    return Compose([*parts, ActNorm(vector_dim("iaf", shape), context_dim=context_dim).inv])


def maf(
    shape: int | tuple[int],
    layers: int = 5,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
    adjacency: Any | None = None,
) -> Bijection:
    r"""Build a masked autoregressive flow, from data to noise.

    Use this flow for density estimation, because scoring takes a single pass.

    Each layer takes the dimensions in another order.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Flow layers; the paper uses 5 and 10.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` to let
            the network choose.
        context_dim: Size of a context vector used by every network.
        elementwise: The formula, copied for each layer (default ``Affine(bound=1.0)``); the paper
            has no bound.
        act_norm: If true (default), an `ActNorm` precedes each layer and follows the last, instead
            of the batch normalisation of the paper; ``initialize`` should be called to set these
            layers using data.
        shuffle: If true, each layer takes the dimensions in a new order. Otherwise the
            order of the layer before is reversed, as in the paper.
        adjacency: Optional graph, as a matrix (dim, dim): dimension i depends on dimension j in
            each layer only where element (i, j) is true; see `pyro_exact.nn.GraphDense`. Several
            layers add the dependence on grandparents. There is nothing to shuffle then.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive, a hidden layer is too narrow, or
            the graph has a cycle or another size.

    Reference:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation,
        section 3.

    Example:
        >>> flow = maf(3, elementwise=MixtureCDF(4))
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = Affine(bound=LOG_SCALE_BOUND) if elementwise is None else elementwise
    parts = _layers("maf", shape, layers, hidden_dims, context_dim, formula, shuffle, adjacency)

    return stack(parts, vector_dim("maf", shape), act_norm, shuffle=False)


def nsf(
    shape: int | tuple[int],
    layers: int = 3,
    bins: int = 8,
    bound: float = 5.0,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
) -> Bijection:
    r"""Build an autoregressive neural spline flow, from data to noise.

    This is a `maf` with `Spline` layers. Use it for density estimation, where it requires fewer
    layers than a `maf`. Scoring takes a single pass; sampling takes a step for each dimension. See
    `spline_coupling` for a single pass in both directions.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Flow layers.
        bins: Bins of each spline.
        bound: The splines bend the interval [-bound, bound]; outside they are the identity.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` to let
            the network choose.
        context_dim: Size of a context vector used by every network.
        act_norm: If true (default), an `ActNorm` precedes each layer and follows the last;
            ``initialize`` should be called to set these, and so brings the data to the interval of
            the splines.
        shuffle: If true, each layer takes the dimensions in a new order; see `maf`.

    Raises:
        ValueError: If the dimension or ``layers`` is not positive, or a hidden layer is
            too narrow.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF
        (AR)).

    Example:
        >>> flow = nsf(3)
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = Spline(bins, bound)

    return maf(shape, layers, hidden_dims, context_dim, formula, act_norm, shuffle)


def _layers(
    builder: str,
    shape: int | Sequence[int],
    layers: int,
    hidden_dims: Sequence[int] | None,
    context_dim: int | None,
    elementwise: Elementwise,
    shuffle: bool = False,
    adjacency: Any | None = None,
) -> list[MaskedAutoregressive]:
    """Return the autoregressive layers, each with a new or a reversed order."""
    dim = vector_dim(builder, shape)
    layers = check_layers(builder, layers)
    hidden_dims = check_hidden_dims(builder, hidden_dims)
    context_dim = check_context_dim(builder, context_dim)
    formula = check_elementwise(builder, elementwise)

    def layer(order: list[int]) -> MaskedAutoregressive:
        net: CausalConditioner
        if adjacency is None:
            net = MaskedDense(dim, formula.num_params, hidden_dims, context_dim, order)
        else:
            net = GraphDense(adjacency, formula.num_params, hidden_dims, context_dim)
            _check_graph(builder, net, dim)
        return MaskedAutoregressive(deepcopy(formula), net)  # a formula may have parameters

    parts, order = [], list(range(dim))
    for _ in range(layers):
        parts.append(layer(order))
        if shuffle and dim > 2:
            order = [order[place] for place in dealt(dim)]
        order = order[::-1]

    return parts


def _check_graph(builder: str, net: GraphDense, dim: int) -> None:
    if net.dim != dim:
        raise ValueError(
            f"{builder} expects adjacency of shape ({dim}, {dim}), a row for each dimension; got "
            f"({net.dim}, {net.dim}). Pass the graph of these dimensions."
        )
