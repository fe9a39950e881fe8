"""Laws of the data that a model refuses."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.testing.law import law
from pyro_exact.testing.model.trial import ModelTrial, declares_its_event, takes_floats


@law(declares_its_event)
def other_shapes_are_refused(trial: ModelTrial) -> None:
    """Data of another shape, without a batch dimension, or without any datum raise a ValueError."""
    x = trial.x
    _is_refused(trial, "a datum without a batch dimension", x[0])
    _is_refused(trial, "an empty batch", x[:0])
    _is_refused(trial, "data with one more dimension", x[..., None])


@law(takes_floats)
def elements_that_are_not_finite_are_refused(trial: ModelTrial) -> None:
    """Data with infinity raise a ValueError, and with NaN unless it marks a missing element."""
    refused = (torch.inf,) if trial.model.sums_out_missing else (torch.nan, torch.inf)
    for value in refused:
        x = trial.x.clone()
        x.view(-1)[-1] = value
        _is_refused(trial, f"data with {value}", x)


def _is_refused(trial: ModelTrial, subject: str, x: Tensor) -> None:
    for method in ("model", "guide", "log_weight"):
        try:
            getattr(trial.model, method)(x)
        except ValueError:
            continue
        raise AssertionError(f"{method} of {subject}: expected a ValueError; got a result.")
