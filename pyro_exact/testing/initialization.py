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
from pyro_exact.transforms.scaling import Scaling


@law(always)
def initialize_returns_the_output(trial: Trial) -> None:
    """``initialize`` returns what the layer makes of the batch from then on."""
    data = _data(trial)
    y = _initialized(data.layer, data)
    agree("the output of initialize", y, data.bound.forward_and_ladj(data.x)[0])


@law(always)
def initialize_leaves_no_graph(trial: Trial) -> None:
    """After ``initialize`` on a batch with a gradient, neither its output nor a parameter or buffer has a graph."""
    data = _data(trial)
    y = _initialized(data.layer, replace(data, x=data.x.requires_grad_()))
    state = {**dict(data.layer.named_parameters()), **dict(data.layer.named_buffers())}
    for name, value in {"the output": y, **state}.items():
        if value.grad_fn is not None:
            raise AssertionError(f"{name} after initialize: expected no graph; got {value.grad_fn}.")


@law(always)
def a_compose_initializes_the_layer(trial: Trial) -> None:
    """A `Compose` initialises the layer as it does alone, and what comes after it on its output."""
    data = _data(trial)
    part = copy.deepcopy(data.layer)
    whole = Compose([part, Scaling(2.0, event_dim=part.codomain.event_dim)])
    agree("the output of a Compose", _initialized(whole, data), 2 * _initialized(data.layer, data))
    agree("the output of its part", replace(data, layer=part).bound(data.x), data.bound(data.x))


@law(always)
def an_initialized_layer_keeps_its_formula(trial: Trial) -> None:
    """A layer that ``initialize`` changes keeps the laws of both directions and their log-determinants."""
    y = trial.outputs(len(trial.x))
    before = _both_directions(trial, y)
    _initialized(trial.layer, _data(trial))
    if all(map(torch.equal, before, _both_directions(trial, y))):
        return  # a layer that it leaves alone breaks each law once, not twice
    for kept in vars(formula).values():
        if isinstance(kept, Law) and kept.applies(trial):
            kept.check(trial)


def _data(trial: Trial) -> Trial:
    """Return the trial with a batch that is large enough for statistics."""
    return replace(trial, x=trial.inputs(20), context=trial.contexts(20))


def _both_directions(trial: Trial, y: Tensor) -> list[Tensor]:
    return [*trial.bound.forward_and_ladj(trial.x), *trial.bound.inverse_and_ladj(y)]


def _initialized(layer: Bijection, data: Trial) -> Tensor:
    """Initialise a layer, as users do, on a batch of data and its contexts; return the output."""
    y: object = layer.initialize(data.x, data.context)
    if not isinstance(y, Tensor):
        raise AssertionError(f"initialize: expected the output, a tensor; got {type(y).__name__}.")
    return y
