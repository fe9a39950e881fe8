"""Check all laws of a layer at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyro_exact.testing import (
    copies,
    formula,
    gradients,
    initialization,
    precision,
    refusals,
    shapes,
    stock,
)
from pyro_exact.testing.law import Law, check_laws, laws_of
from pyro_exact.testing.trial import Draw, Trial
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape


def check_bijection(
    layer: Bijection,
    event_shape: Shape,
    context_dim: int | None = None,
    draw: Draw | None = None,
    std: float = 0.5,
) -> None:
    r"""Check that a layer satisfies every law that the layers of this package satisfy.

    Use it in the tests of a layer of your own. Each law gets a copy of the layer, in float64 on the
    CPU and in evaluation mode, with noise :math:`N(0, \mathrm{std}^2)` added to the weights,
    because many mistakes are invisible near the identity. The layer itself and torch's random state
    do not change; the cache of ``torch.compile`` is cleared.

    Args:
        layer: The layer. Inputs are drawn from the ``domain``, outputs from the ``codomain``; the
            default of both is the real line.
        event_shape: Shape of an event of the input.
        context_dim: Size of the context vector; `None` for a plain layer.
        draw: A function from a shape to a tensor of inputs for which the layer is defined; by
            default standard normal noise, mapped to the ``domain`` of the layer.
        std: Standard deviation of the noise that is added to the weights. This should be smaller
            for a deep stack: with large weights, float64 may be too coarse to invert it.

    Raises:
        AssertionError: If the layer breaks a law; the message names each such law, with the
            expected and the actual value.
        TypeError: If ``layer`` is not a `Bijection`, or ``event_shape`` is not a shape.
        ValueError: If the layer takes another context, or events with more or fewer dimensions.

    Example:
        >>> check_bijection(Planar(3), event_shape=(3,))
        >>> check_bijection(Planar(3, context_dim=2), event_shape=(3,), context_dim=2)
    """
    _check_arguments(layer, event_shape, context_dim)

    def trial() -> Trial:
        return Trial.of(layer, event_shape, context_dim, draw, std)

    with torch.random.fork_rng(devices=[]):
        check_laws(type(layer).__name__, laws(trial()), trial)


def laws(trial: Trial) -> list[Law[Trial]]:
    """Return the laws that apply to the layer of a trial."""
    modules = formula, stock, shapes, gradients, initialization, copies, precision, refusals
    return laws_of(modules, trial)


def _check_arguments(
    layer: Bijection,
    event_shape: Shape,
    context_dim: int | None,
) -> None:
    if not isinstance(layer, Bijection):
        raise TypeError(
            f"check_bijection expects a Bijection; got {type(layer).__name__}. Derive your layer "
            "from Bijection."
        )
    if not isinstance(event_shape, Sequence):
        raise TypeError(
            f"check_bijection expects an event_shape such as (3,) or (3, 8, 8); got "
            f"{event_shape!r}. Pass the shape of one event, without a batch."
        )

    expected = None if context_dim is None else (context_dim,)
    if layer.context_shape != expected:
        raise ValueError(
            f"check_bijection expects a layer with context_shape {expected}; got "
            f"{layer.context_shape}. Pass the context_dim of the layer, which the layer must pass "
            "to Bijection.__init__."
        )
    if layer.domain.event_dim != len(event_shape):
        raise ValueError(
            f"check_bijection expects an event_shape of {layer.domain.event_dim} dimensions, as "
            f"declared by the layer; got {tuple(event_shape)}. Pass the shape of one event, "
            "without a batch."
        )
