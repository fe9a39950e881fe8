"""Inverse and masked autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pyro_exact.checks import check_size, check_sizes
from pyro_exact.flows.arguments import check_context_dim, check_elementwise, check_length
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.masked_autoregressive import MaskedAutoregressive


def iaf(
    dim: int,
    length: int = 4,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
) -> Bijection:
    r"""Build an inverse autoregressive flow, from noise to latent: to sample is one pass, a guide's direction.

    Every second layer takes the dimensions in reverse order.

    Args:
        dim: Dimension of the vectors.
        length: T of the paper, the number of layers.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`.
        context_dim: Size of a context vector that every network sees, e.g. the h of the paper's
            encoder.
        elementwise: The formula, of which each layer gets a copy; `None` for ``Affine()``. The
            paper's gate is ``Affine("sigmoid")``, up to its shift.

    Raises:
        ValueError: If the dimension or the length is not positive, or a hidden layer is too narrow.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 4 and algorithm 1.

    Example:
        >>> flow = iaf(3, context_dim=6)
        >>> flow.condition(torch.randn(5, 6))(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    return Compose(_layers(dim, length, hidden_dims, context_dim, elementwise))


def maf(
    dim: int,
    length: int = 5,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a masked autoregressive flow, from data to noise: to score is one pass, a density estimator's direction.

    Every second layer takes the dimensions in reverse order.

    Args:
        dim: Dimension of the vectors.
        length: Number of layers; the paper has 5 and 10.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`.
        context_dim: Size of a context vector that every network sees.
        elementwise: The formula, of which each layer gets a copy; `None` for ``Affine()``, as in
            the paper.
        act_norm: Whether an `ActNorm` precedes each layer, in place of the paper's batch
            normalisation; ``initialize`` sets it from data.

    Raises:
        ValueError: If the dimension or the length is not positive, or a hidden layer is too narrow.

    Reference:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation,
        section 3.

    Example:
        >>> flow = maf(3, elementwise=MixtureCDF(4))
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    layers = _layers(dim, length, hidden_dims, context_dim, elementwise)
    return Compose(
        [part for layer in layers for part in ([ActNorm(dim), layer] if act_norm else [layer])]
    )


def _layers(
    dim: int,
    length: int,
    hidden_dims: Sequence[int] | None,
    context_dim: int | None,
    elementwise: Elementwise | None,
) -> list[MaskedAutoregressive]:
    dim, length = check_size("A flow", "dim", dim), check_length(length)
    hidden_dims = None if hidden_dims is None else check_sizes("A flow", "hidden_dims", hidden_dims)
    context_dim = check_context_dim("A flow", context_dim)
    formula = Affine() if elementwise is None else check_elementwise("A flow", elementwise)
    orders = list(range(dim)), list(range(dim - 1, -1, -1))

    def layer(order: list[int]) -> MaskedAutoregressive:
        net = MaskedDense(dim, formula.num_params, hidden_dims, context_dim, order)
        return MaskedAutoregressive(deepcopy(formula), net)  # it may learn: each layer has its own

    return [layer(orders[i % 2]) for i in range(length)]
