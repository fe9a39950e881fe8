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
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.masked_autoregressive import MaskedAutoregressive


def iaf(
    shape: int | tuple[int],
    layers: int = 4,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
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
    return Compose(_layers("iaf", shape, layers, hidden_dims, context_dim, elementwise))


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
        act_norm: Whether an `ActNorm` precedes each layer, instead of the batch normalisation of
            the paper; ``initialize`` sets it from data.

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
    parts: list[Bijection] = []
    for layer in _layers("maf", shape, layers, hidden_dims, context_dim, elementwise):
        if act_norm:
            parts.append(ActNorm(layer.conditioner.dim))
        parts.append(layer)

    return Compose(parts)


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
