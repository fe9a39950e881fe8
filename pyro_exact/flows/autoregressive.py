"""Inverse and masked autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pyro_exact.flows.arguments import (
    check_context_dim,
    check_elementwise,
    check_hidden_dims,
    check_layers,
    vector_dim,
)
from pyro_exact.flows.normalised import normalised
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
    r"""Build an inverse autoregressive flow, from noise to latent. Use it as a guide: sampling takes one pass.

    Every second layer takes the dimensions in reverse order.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Number of layers, T in the paper.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` for the
            default of the network.
        context_dim: Size of an optional context vector for every network, for example the h of the
            paper's encoder.
        elementwise: The formula; each layer gets a copy. `None` for ``Affine()``. The paper uses
            ``Affine("sigmoid")``, up to the shift.
        act_norm: Whether the inverse of an `ActNorm` follows the layers, which scales and shifts
            the latent (default yes).

    Raises:
        ValueError: If the dimension or the number of layers is not positive, or a hidden layer is
            too narrow.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 4 and algorithm 1.

    Example:
        >>> flow = iaf(3, context_dim=6)
        >>> flow.condition(torch.randn(5, 6))(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    stack = _layers("iaf", shape, layers, hidden_dims, context_dim, elementwise)
    if not act_norm:
        return Compose(stack)

    dim = vector_dim("iaf", shape)
    return Compose([*stack, ActNorm(dim, context_dim=context_dim).inv])


def maf(
    shape: int | tuple[int],
    layers: int = 5,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a masked autoregressive flow, from data to noise. Use it for density estimation: scoring takes one pass.

    Every second layer takes the dimensions in reverse order.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Number of layers; the paper uses 5 and 10.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` for the
            default of the network.
        context_dim: Size of an optional context vector for every network.
        elementwise: The formula; each layer gets a copy. `None` for ``Affine()``, as in the paper.
        act_norm: Whether an `ActNorm` precedes each layer and follows the last one (default yes),
            instead of the batch normalisation of the paper; ``initialize`` sets them from data.

    Raises:
        ValueError: If the dimension or the number of layers is not positive, or a hidden layer is
            too narrow.

    Reference:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation,
        section 3.

    Example:
        >>> flow = maf(3, elementwise=MixtureCDF(4))
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    stack = _layers("maf", shape, layers, hidden_dims, context_dim, elementwise)
    dim = vector_dim("maf", shape)

    return normalised(stack, dim) if act_norm else Compose(stack)


def nsf(
    shape: int | tuple[int],
    layers: int = 3,
    bins: int = 8,
    bound: float = 3.0,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build an autoregressive neural spline flow, from data to noise: a `maf` with `Spline` layers.

    Use it for density estimation, where it needs fewer layers than a `maf`. Scoring takes one pass;
    a sample takes one step for each dimension. See `spline_coupling` for one pass in both
    directions.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Number of layers.
        bins: Number of bins of each spline.
        bound: The splines bend the interval [-bound, bound]; outside they are the identity.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` for the
            default of the network.
        context_dim: Size of an optional context vector for every network.
        act_norm: Whether an `ActNorm` precedes each layer and follows the last one (default yes);
            ``initialize`` sets them from data, and so brings the data to the interval of the
            splines.

    Raises:
        ValueError: If the dimension or the number of layers is not positive, or a hidden layer is
            too narrow.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF
        (AR)).

    Example:
        >>> flow = nsf(3)
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    return maf(shape, layers, hidden_dims, context_dim, Spline(bins, bound), act_norm)


def _layers(
    builder: str,
    shape: int | Sequence[int],
    layers: int,
    hidden_dims: Sequence[int] | None,
    context_dim: int | None,
    elementwise: Elementwise | None,
) -> list[MaskedAutoregressive]:
    """Return the autoregressive layers, with alternating orders of the dimensions."""
    dim = vector_dim(builder, shape)
    layers = check_layers(builder, layers)
    hidden_dims = check_hidden_dims(builder, hidden_dims)
    context_dim = check_context_dim(builder, context_dim)
    formula = Affine() if elementwise is None else check_elementwise(builder, elementwise)

    orders = list(range(dim)), list(range(dim - 1, -1, -1))

    def layer(order: list[int]) -> MaskedAutoregressive:
        net = MaskedDense(dim, formula.num_params, hidden_dims, context_dim, order)
        return MaskedAutoregressive(deepcopy(formula), net)  # a formula may have parameters

    return [layer(orders[i % 2]) for i in range(layers)]
