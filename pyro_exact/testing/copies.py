"""Laws of copies of a layer, of the state and of the device."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import torch
from torch import Tensor

from pyro_exact.testing.law import agree, always, fresh, law
from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.bijection import Bijection


@law(always)
def tensors_are_parameters_or_buffers(trial: Trial) -> None:
    """Every tensor of the layer is a parameter or a buffer, so that it moves with the layer."""
    for owner in trial.layer.modules():
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                raise AssertionError(
                    f"{name} of {type(owner).__name__}: expected a buffer; got an attribute."
                )


@law(always)
def parameters_are_contiguous(trial: Trial) -> None:
    """Every parameter is contiguous: otherwise stock SVI would train a copy of it."""
    # For a parameter that is not contiguous, `pyro.module` registers a copy.
    for name, p in trial.layer.named_parameters():
        if not p.is_contiguous():
            raise AssertionError(
                f"{name}: expected a contiguous parameter; got {tuple(p.shape)} with {p.stride()}."
            )


@law(always)
def deepcopy_after_a_call(trial: Trial) -> None:
    """A layer that has been used can be copied."""
    y = trial.bound(trial.x)
    _equals(copy.deepcopy(trial.layer), trial, y)


@law(always)
def pickle_after_a_call(trial: Trial) -> None:
    """A layer that has been used can be pickled."""
    y = trial.bound(trial.x)

    pickled = pickle.dumps(trial.layer)
    _equals(pickle.loads(pickled), trial, y)


@law(always)
def state_dict_holds_all_that_is_learned(trial: Trial) -> None:
    """A layer with other weights becomes the layer when it loads its ``state_dict``."""
    other = copy.deepcopy(trial.layer)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(torch.randn_like(p))

        # A call, so that values that are cached and depend on the weights are out of date.
        replace(trial, layer=other).bound(trial.x)

    other.load_state_dict(trial.layer.state_dict())
    _equals(other, trial, trial.bound(trial.x))


def _equals(layer: Bijection, trial: Trial, y: Tensor) -> None:
    """Raise unless a copy of a layer has parameters of its own and the output y for ``trial.x``."""
    parameters = zip(layer.parameters(), trial.layer.parameters(), strict=True)
    if any(p is q for p, q in parameters):
        raise AssertionError(
            "the parameters of the copy: expected tensors of its own; got those of the layer."
        )

    t = replace(trial, layer=layer).bound
    agree("the output of the copy", t(trial.x), y, 0)
    agree("the inverse of the copy", t.inv(fresh(y)), trial.x)
