"""Layers for the tests, each with random weights or as small as it can be, and the case of a layer."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.flows import (
    flow_pp,
    flow_pp_dequantizer,
    glow,
    image_real_nvp,
    image_spline_coupling,
)
from pyro_exact.nn import (
    ConvConditioner,
    DenseConditioner,
    MaskedDense,
    TransformerConditioner,
)
from pyro_exact.transforms import (
    GIN,
    ActNorm,
    Affine,
    BatchNorm,
    Bijection,
    Compose,
    Coupling,
    Elementwise,
    Halves,
    MaskedAutoregressive,
    Partition,
    Permute,
    TokenAutoregressive,
)


class Case(NamedTuple):
    """A layer: `make(context_dim)` for events of `shape`, plain (None) and, where it can be, `conditional` as well.

    `draw(shape)` makes inputs where the layer is defined, and `std` is how far the weights are
    moved. The official Glow contracts without a bound, sigmoid(r) for any r: with large weights its
    second step adds a shift of order 1 to numbers of order e^-40, and float64 forgets them;
    likewise a logit beyond 36 is a
    pixel at the
    very end.
    """

    make: Callable[[int | None], Bijection]
    shape: tuple[int, ...]
    conditional: bool = False
    draw: Callable[[tuple[int, ...]], Tensor] = torch.randn
    std: float = 0.5


def dense(partition: Partition, formula: Elementwise, context_dim: int | None) -> Coupling:
    sizes = partition.fixed_size, partition.free_size
    return Coupling(
        partition, formula, DenseConditioner(*sizes, formula.num_params, (6,), context_dim)
    )


def conv(partition: Partition, formula: Elementwise, context_dim: int | None) -> Coupling:
    sizes = partition.fixed_size, partition.free_size
    return Coupling(partition, formula, ConvConditioner(*sizes, formula.num_params, 6, context_dim))


def masked(dim: int, formula: Elementwise, context_dim: int | None) -> MaskedAutoregressive:
    """One that takes its dimensions in reverse order."""
    reverse = range(dim - 1, -1, -1)
    return MaskedAutoregressive(
        formula, MaskedDense(dim, formula.num_params, (6, 5), context_dim, reverse)
    )


def by_tokens(
    formula: Elementwise, context_dim: int | None, reverse: bool = False
) -> TokenAutoregressive:
    """One of 3 tokens of 2 numbers."""
    net = TransformerConditioner(3, 2, formula.num_params, 4, 1, 2, context_dim)
    return TokenAutoregressive(formula, net, reverse)


def stack(context_dim: int | None, recompute: bool = False) -> Compose:
    """Every kind of layer for vectors of 3 elements, conditional layers between plain layers."""
    couplings = (
        dense(Halves(3), Affine(), context_dim),
        dense(Halves(3, swap=True), Affine("sigmoid"), context_dim),
    )
    return Compose(
        [couplings[0], Permute([2, 0, 1]), ActNorm(3, context_dim=context_dim), couplings[1]],
        recompute,
    )


def small_glow(context_dim: int | None, **settings: object) -> Bijection:
    options = {
        "levels": 4,
        "scales": 2,
        "steps": 1,
        "width": 6,
        "context_dim": context_dim,
        **settings,
    }
    return glow((1, 4, 4), **options)


def small_flow_pp(**settings: object) -> Bijection:
    """An initialised layer in evaluation mode, because dropout would change from call to call."""
    options = {"levels": 4, "width": 4, "depth": 1, "components": 2, "heads": 2, **settings}
    made = flow_pp((1, 4, 4), **options).eval()
    made.initialize(pixels((50, 1, 4, 4)))
    return made


def small_dequantizer(context: Tensor | None, **settings: object) -> Bijection:
    """In evaluation, with its context, an image of 4 levels, bound where one is given."""
    options = {
        "levels": 4,
        "width": 4,
        "depth": 1,
        "components": 2,
        "heads": 2,
        "encoder_width": 2,
        **settings,
    }
    made = flow_pp_dequantizer((1, 2, 4), **options).eval()
    return made if context is None else made.condition(context)


def small_real_nvp(context_dim: int | None, **settings: object) -> Bijection:
    options = {
        "levels": 4,
        "scales": 2,
        "width": 3,
        "depth": 1,
        "context_dim": context_dim,
        **settings,
    }
    return image_real_nvp((1, 4, 4), **options)


def small_spline_coupling(context_dim: int | None) -> Bijection:
    return image_spline_coupling((1, 4, 4), 4, 2, 1, 3, width=3, depth=1, context_dim=context_dim)


def evaluated_real_nvp(**settings: object) -> Bijection:
    """A layer with batch normalisation, initialised and in evaluation mode."""
    made = small_real_nvp(None, batch_norm=True, **settings)
    made.initialize(pixels((50, 1, 4, 4)))
    return made.eval()


def batch_norm(channels: int, event_dim: int) -> BatchNorm:
    """An initialised layer in evaluation mode, because in training it is no bijection of a single event."""
    layer = BatchNorm(channels, event_dim).eval()
    layer.running_mean.normal_()
    layer.running_variance.uniform_(0.5, 2)
    return layer


def pixels(shape: tuple[int, ...]) -> Tensor:
    """Dequantised pixels of 4 levels."""
    return 4 * torch.rand(shape)


def logits(shape: tuple[int, ...]) -> Tensor:
    """Numbers that a sigmoid does not round to an end of the interval."""
    return torch.randn(shape)


def gin(partition: Partition, context_dim: int | None) -> GIN:
    sizes = partition.fixed_size, partition.free_size
    net = ConvConditioner if partition.event_dim == 3 else DenseConditioner
    return GIN(partition, net(*sizes, 2, 6 if net is ConvConditioner else (6,), context_dim))
