"""Laws of ``initialize``."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from pyro_exact.testing import formula
from pyro_exact.testing.law import Law, agree, always, law
from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.fixed_affine import FixedAffine


@law(always)
def initialize_returns_the_output(trial: Trial) -> None:
    """``initialize`` returns the output of the initialised layer for the batch."""
    data = _data(trial)
    y = _initialized(data.layer, data)
    agree("the output of initialize", y, data.bound.forward_and_ladj(data.x)[0])


@law(always)
def initialize_leaves_no_graph(trial: Trial) -> None:
    """After ``initialize`` on a batch with a gradient, no output and no parameter has a graph."""
    data = _data(trial)
    with_gradient = replace(data, x=data.x.requires_grad_())
    y = _initialized(data.layer, with_gradient)

    parameters = dict(data.layer.named_parameters())
    buffers = dict(data.layer.named_buffers())
    for name, value in {"the output": y, **parameters, **buffers}.items():
        if value.grad_fn is not None:
            raise AssertionError(
                f"{name} after initialize: expected no graph; got {value.grad_fn}."
            )


@law(always)
def initialize_keeps_the_parameters(trial: Trial) -> None:
    """``initialize`` changes parameters in place, and not their dtype nor the mode of the layer."""
    before = _kinds(trial.layer)
    _initialized(trial.layer, _data(trial))

    if (after := _kinds(trial.layer)) != before:
        raise AssertionError(f"initialize: expected parameters and mode {before}; got {after}.")


@law(always)
def a_compose_initializes_the_layer(trial: Trial) -> None:
    """A `Compose` initialises the layer as alone, and the layers after it using the output."""
    data = _data(trial)
    part = copy.deepcopy(data.layer)
    whole = Compose([part, FixedAffine(2.0, event_dim=part.codomain.event_dim)])

    found = _initialized(whole, data)
    alone = _initialized(data.layer, data)
    agree("the output of a Compose", found, 2 * alone)

    part_alone = replace(data, layer=part).bound
    agree("the output of its part", part_alone(data.x), data.bound(data.x))


@law(always)
def an_initialized_layer_keeps_its_formula(trial: Trial) -> None:
    """A layer that ``initialize`` changes satisfies the laws of both directions and their ladj."""
    y = trial.outputs(len(trial.x))
    before = _both_directions(trial, y)
    _initialized(trial.layer, _data(trial))
    if all(map(torch.equal, before, _both_directions(trial, y))):
        return  # a layer that does not change reports each broken law once, not twice

    for kept in vars(formula).values():
        if isinstance(kept, Law) and kept.applies(trial):
            kept.check(trial)


def _data(trial: Trial) -> Trial:
    """Return the trial with a batch that is large enough for statistics."""
    # More rows than elements of an event, so that their covariance can be inverted.
    rows = max(20, 2 * trial.x[0].numel())
    return replace(
        trial,
        x=trial.inputs(rows),
        context=trial.contexts(rows),
    )


def _kinds(layer: Bijection) -> dict[str, object]:
    """Return the identity and dtype of the parameters, and the modes of the layer."""
    kinds: dict[str, object] = {}
    for name, p in layer.named_parameters():
        kinds[name] = (id(p), p.dtype, p.requires_grad)

    kinds["training"] = [module.training for module in layer.modules()]
    return kinds


def _both_directions(trial: Trial, y: Tensor) -> list[Tensor]:
    forward = trial.bound.forward_and_ladj(trial.x)
    inverse = trial.bound.inverse_and_ladj(y)
    return [*forward, *inverse]


def _initialized(layer: Bijection, data: Trial) -> Tensor:
    """Initialise a layer, as users do, on a batch of data and contexts; return the output."""
    torch.manual_seed(0)  # it may draw random numbers
    y: object = layer.initialize(data.x, data.context)

    if not isinstance(y, Tensor):
        raise AssertionError(f"initialize: expected the output, a tensor; got {type(y).__name__}.")
    return y
