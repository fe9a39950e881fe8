"""Laws of the two pure methods, forward and inverse."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from pyro_exact.testing.law import agree, always, fresh, law, learns_from_context
from pyro_exact.testing.trial import ROWS, Trial
from pyro_exact.transforms.bijection import Bijection


@law(always)
def inverse_undoes_forward(trial: Trial) -> None:
    """The inverse of an output is its input, also for a copy of the output without a cache."""
    y = fresh(trial.bound(trial.x))
    agree("the inverse of an output", trial.bound.inv(y), trial.x)


@law(always)
def forward_undoes_inverse(trial: Trial) -> None:
    """Any value is the output of the inverse of this value."""
    y = trial.outputs(ROWS)
    x = fresh(trial.bound.inv(y))
    agree("the output of an inverse", trial.bound(x), y)


@law(always)
def ladj_is_that_of_the_jacobian(trial: Trial) -> None:
    """The log-determinant is that of the autograd Jacobian."""
    _, ladj = trial.bound.forward_and_ladj(trial.x)
    for i in range(ROWS):
        # log |det dy/dx| of each row
        output = partial(_flat_output, trial.row(i))
        matrix = jacobian(output, trial.x[i]).flatten(1)
        _, expected = matrix.slogdet()
        agree("the ladj", ladj[i], expected)


def _flat_output(layer: Bijection, x: Tensor) -> Tensor:
    return layer.forward_and_ladj(x)[0].flatten()


@law(always)
def ladj_of_the_inverse_is_the_negative(trial: Trial) -> None:
    """The log-determinant of the inverse is minus that of the layer."""
    y, ladj = trial.bound.forward_and_ladj(trial.x)
    _, found = trial.bound.inverse_and_ladj(y)
    agree("the ladj of the inverse", found, -ladj)


@law(always)
def rows_do_not_mix(trial: Trial) -> None:
    """A row of a batch has the output that it has alone."""
    for name, direction, source in trial.directions():
        output, ladj = direction(source)

        for i in range(ROWS):
            row = getattr(trial.row(i), name)
            alone, ladj_alone = row(source[i])
            agree(f"a row of {name}", output[i], alone)
            agree(f"the ladj of a row of {name}", ladj[i], ladj_alone)


@law(always)
def calls_change_nothing(trial: Trial) -> None:
    """Both directions change neither their arguments nor the layer, and a second call agrees."""
    state = copy.deepcopy(trial.layer.state_dict())
    for name, direction, source in trial.directions():
        given = source.clone()
        output, ladj = direction(source)
        agree(f"the argument of {name} after the call", source, given, 0)

        again, ladj_again = direction(source)
        agree(f"a second {name}", again, output, 0)
        agree(f"the ladj of a second {name}", ladj_again, ladj, 0)

    for name, value in trial.layer.state_dict().items():
        agree(f"{name} after the calls", value, state[name], 0)


@law(learns_from_context)
def the_context_matters(trial: Trial) -> None:
    """Another context gives another output."""
    y, _ = trial.bound.forward_and_ladj(trial.x)
    other_layer = trial.given(trial.contexts(ROWS))
    other, _ = other_layer.forward_and_ladj(trial.x)

    if torch.equal(y, other):
        raise AssertionError(
            "the outputs for two contexts: expected different outputs; got equal outputs. Build "
            "a layer without context_dim if it does not use the context; plain and conditional "
            "layers can be combined."
        )
