"""Autoregressive flows whose formulas are monotone networks and polynomials."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.flows.arguments import check_context_dim, check_layers, vector_dim
from pyro_exact.flows.autoregressive import maf
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.bernstein import Bernstein
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.block_autoregressive import BlockAutoregressive
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.monotone_network import MonotoneNetwork
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.sigmoidal import DenseSigmoidal
from pyro_exact.transforms.sum_of_squares import SumOfSquares


def naf(
    shape: int | tuple[int],
    layers: int = 3,
    width: int = 16,
    depth: int = 1,
    units: int = 1,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a neural autoregressive flow, from data to noise.

    This is a `maf` with small monotone networks.

    Scoring takes a single pass. Sampling requires a guarded Newton iteration for each dimension.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Autoregressive layers.
        width: Sigmoids in each layer of a formula.
        depth: Layers of a formula.
        units: Size of the vectors between the layers of a formula: 1 for the deep sigmoidal form,
            more for the dense form.
        hidden_dims: Widths of the hidden layers of each `pyro_exact.nn.MaskedDense`; `None` to let
            the network choose.
        context_dim: Size of a context vector used by every network.
        act_norm: If true, an `ActNorm` precedes each layer, as in `maf`.

    Raises:
        ValueError: If a size is not positive, or a hidden layer is too narrow.

    Reference:
        Huang, Krueger, Lacoste and Courville (2018), Neural Autoregressive Flows, section 3.

    Example:
        >>> naf(3, layers=1)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = DenseSigmoidal(width, depth, units)
    return maf(shape, layers, hidden_dims, context_dim, formula, act_norm)


def umnn(
    shape: int | tuple[int],
    layers: int = 3,
    embedding_dim: int = 16,
    integrand_dims: Sequence[int] = (32, 32),
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build an autoregressive flow of unconstrained monotone networks, from data to noise.

    The formulas are integrals of networks. Scoring takes a single pass, using a quadrature.
    Sampling requires a guarded Newton iteration for each dimension.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Autoregressive layers.
        embedding_dim: Size of the embedding that the integrand takes from the dimensions before.
        integrand_dims: Widths of the hidden layers of the integrand.
        hidden_dims: See `naf`.
        context_dim: See `naf`.
        act_norm: See `naf`.

    Raises:
        ValueError: If a size is not positive, or a hidden layer is too narrow.

    Reference:
        Wehenkel and Louppe (2019), Unconstrained Monotonic Neural Networks, section 4.

    Example:
        >>> umnn(3, layers=1)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = MonotoneNetwork(embedding_dim, integrand_dims)
    return maf(shape, layers, hidden_dims, context_dim, formula, act_norm)


def sos(
    shape: int | tuple[int],
    layers: int = 3,
    polynomials: int = 4,
    degree: int = 4,
    bound: float = 5.0,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build an autoregressive flow of sum-of-squares polynomials, from data to noise.

    Scoring takes a single pass. Sampling requires a guarded Newton iteration for each dimension.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Autoregressive layers.
        polynomials: Squares in each formula.
        degree: Degree of each squared polynomial.
        bound: The formulas are polynomials on [-bound, bound], and linear outside.
        hidden_dims: See `naf`.
        context_dim: See `naf`.
        act_norm: See `naf`.

    Raises:
        ValueError: If a size is not positive, or a hidden layer is too narrow.

    Reference:
        Jaini, Selby and Yu (2019), Sum-of-Squares Polynomial Flow, section 4.

    Example:
        >>> sos(3, layers=1)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = SumOfSquares(polynomials, degree, bound)
    return maf(shape, layers, hidden_dims, context_dim, formula, act_norm)


def bernstein(
    shape: int | tuple[int],
    layers: int = 3,
    degree: int = 16,
    bound: float = 5.0,
    hidden_dims: Sequence[int] | None = None,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build an autoregressive flow of Bernstein polynomials, from data to noise.

    Scoring takes a single pass. Sampling requires a guarded Newton iteration for each dimension.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Autoregressive layers.
        degree: Degree of the polynomials.
        bound: The formulas are polynomials on [-bound, bound], and linear outside.
        hidden_dims: See `naf`.
        context_dim: See `naf`.
        act_norm: See `naf`.

    Raises:
        ValueError: If a size is not positive, or a hidden layer is too narrow.

    Reference:
        Arpogaus et al. (2023), Short-Term Density Forecasting of Low-Voltage Load using
        Bernstein-Polynomial Normalizing Flows, section 3.

    Example:
        >>> bernstein(3, layers=1)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    formula = Bernstein(degree, bound)
    return maf(shape, layers, hidden_dims, context_dim, formula, act_norm)


def bnaf(
    shape: int | tuple[int],
    layers: int = 2,
    width: int = 32,
    depth: int = 2,
    context_dim: int | None = None,
    act_norm: bool = True,
) -> Bijection:
    r"""Build a block neural autoregressive flow, from data to noise.

    This flow has far fewer weights than a `naf`.

    Scoring takes a single pass. Sampling requires a guarded Newton iteration for each dimension.
    Every second layer takes the dimensions in reverse order.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Number of `BlockAutoregressive` layers.
        width: Hidden units of each dimension.
        depth: Hidden layers in each `BlockAutoregressive`.
        context_dim: Size of a context vector used by every layer.
        act_norm: If true (default), an `ActNorm` precedes each layer and follows the last;
            ``initialize`` should be called to set these.

    Raises:
        ValueError: If a size is not positive.

    Reference:
        De Cao, Titov and Aziz (2019), Block Neural Autoregressive Flow, section 3.

    Example:
        >>> bnaf(3)(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("bnaf", shape)
    layers = check_layers("bnaf", layers)
    context_dim = check_context_dim("bnaf", context_dim)

    parts: list[Bijection] = []
    for index in range(layers):
        if index and dim > 1:
            parts.append(Permute(range(dim - 1, -1, -1)))
        if act_norm:
            parts.append(ActNorm(dim))
        parts.append(BlockAutoregressive(dim, width, depth, context_dim))

    if act_norm:
        parts.append(ActNorm(dim))
    return Compose(parts)
