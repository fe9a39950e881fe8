"""The laws of a layer."""

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
    r"""Check that a layer keeps every law that the layers of this package keep, or say which ones it breaks.

    Each law gets a copy of the layer, in float64 on the CPU and in evaluation mode, with its
    weights moved by :math:`N(0, \mathrm{std}^2)`: near the identity many mistakes are invisible.
    The layer itself and torch's random numbers stay as they are; what ``torch.compile`` has
    compiled so far is dropped.

    Args:
        layer: The layer. Inputs may be anything in its ``domain``, and outputs in its ``codomain``:
            the real numbers, unless the layer declares something else, such as an interval.
        event_shape: Shape of one event of its input.
        context_dim: Size of its context vector, `None` for a plain layer.
        draw: Makes a tensor of a given shape, of inputs for which the layer is defined; `None` for
            standard normal numbers, mapped to the ``domain`` of the layer.
        std: How far the weights are moved. Less for a deep stack: large weights may bend its
            outputs beyond what float64 can undo.

    Raises:
        AssertionError: If the layer breaks a law; the message names each, what it expects, and what
            it got.
        TypeError: If ``layer`` is no `Bijection`, or ``event_shape`` no shape.
        ValueError: If the layer takes another context, or has another number of event dimensions.

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


def _check_arguments(layer: Bijection, event_shape: Shape, context_dim: int | None) -> None:
    if not isinstance(layer, Bijection):
        raise TypeError(
            f"check_bijection expects a Bijection; got {type(layer).__name__}. Derive your layer from it."
        )
    if not isinstance(event_shape, Sequence):
        raise TypeError(
            f"check_bijection expects an event_shape such as (3,) or (3, 8, 8); got {event_shape!r}. Pass the shape of "
            f"one event, without a batch."
        )
    expected = None if context_dim is None else (context_dim,)
    if layer.context_shape != expected:
        raise ValueError(
            f"check_bijection expects a layer with context_shape {expected}; got {layer.context_shape}. "
            f"Pass its context_dim, or let the layer tell its context_dim to Bijection.__init__."
        )
    if layer.domain.event_dim != len(event_shape):
        raise ValueError(
            f"check_bijection expects an event_shape of {layer.domain.event_dim} dimensions, as the layer says; got "
            f"{tuple(event_shape)}. Pass the shape of one event, without a batch."
        )
