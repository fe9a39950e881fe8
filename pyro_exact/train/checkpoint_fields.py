"""Checks of the fields of a checkpoint that are required to evaluate and to resume a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_exact.checks import shown
from pyro_exact.train.checksum import DamagedError

# A test of a value, and the description of the value in an error.
Field = tuple[Callable[[Any], bool], str]


def check_fields(checkpoint: object, key: str) -> dict[str, Any]:
    """Return a checkpoint if all fields that are required to evaluate and to resume it are present.

    Args:
        checkpoint: Loaded values that have passed `check_values`.
        key: Name of our own part.

    Raises:
        DamagedError: With the name of the first field that is missing, or of another type.
    """
    if not isinstance(checkpoint, dict):
        raise DamagedError(f"it expects fields with names; got {shown(checkpoint)}")
    _check_all(checkpoint, {key: (_is_mapping, "the record of a run"), **_FIELDS})

    step, weights = checkpoint["global_step"], checkpoint["state_dict"]
    if checkpoint[key].get("step") != step:
        raise DamagedError(f"the field global_step expects that of the run; got {step}")
    if not _fits(checkpoint["optimizer_states"][0]["state"], weights):
        raise DamagedError(
            "the field optimizer_states expects the shapes of the weights; got others"
        )

    if _is_averaged(checkpoint[key]):
        _check_all(checkpoint, _AVERAGES)
        if _kinds(checkpoint["current_model_state"]) != _kinds(weights):
            raise DamagedError(
                "the field current_model_state expects the shapes and dtypes of state_dict; got "
                "others"
            )
    return checkpoint


def _check_all(checkpoint: dict[str, Any], fields: Mapping[str, Field]) -> None:
    for name, (holds, expected) in fields.items():
        if name not in checkpoint:
            raise DamagedError(f"the field {name} is missing")
        if not holds(checkpoint[name]):
            raise DamagedError(
                f"the field {name} expects {expected}; got {shown(checkpoint[name])}"
            )


def _is_averaged(run: Mapping[str, Any]) -> bool:
    """Return whether the settings of a run, which are not checked yet, ask for averaged weights."""
    training = run.get("training")
    return isinstance(training, Mapping) and training.get("ema_decay") is not None


def _kinds(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def _fits(state: Mapping[int, Any], weights: Mapping[str, Tensor]) -> bool:
    """Return whether the moments of an optimiser have the shapes of weights, in order."""
    shapes = iter([tensor.shape for tensor in weights.values()])
    for i in sorted(state):
        moments = [moment.shape for name, moment in state[i].items() if name != "step"]
        if not any(moments == [shape] * len(moments) for shape in shapes):
            return False
    return True


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_version(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)*[\w.+-]*", value) is not None


def _is_weights(value: Any) -> bool:
    """Return whether a value is a mapping from names to tensors."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    return all(isinstance(tensor, Tensor) for tensor in value.values())


def _is_optimizer(value: Any) -> bool:
    """Return whether a value is the state of an optimiser with one group of parameters."""
    if not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping)):
        return False
    state, groups = value[0].get("state"), value[0].get("param_groups")
    if not (isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], Mapping)):
        return False

    indices = groups[0].get("params")
    if not (isinstance(indices, list) and indices == [*range(len(indices))]):
        return False
    if not (isinstance(state, Mapping) and {*state} <= {*indices}):
        return False
    return all(map(_is_weights, state.values()))


def _is_progress(value: Any) -> bool:
    """Return whether a value has the nested counts of all four loops of Lightning."""
    if not isinstance(value, Mapping) or not {*_LOOPS} <= {*value}:
        return False
    return all(map(_is_counts, value.values()))


def _is_counts(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_counts, value.values()))
    return isinstance(value, (int, type(None)))


def _is_states(value: Any) -> bool:
    return _is_mapping(value) and all(map(_is_mapping, value.values()))


_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
_FIELDS: dict[str, Field] = {
    "state_dict": (_is_weights, "tensors by name"),
    "global_step": (_is_count, "the number of steps"),
    "epoch": (_is_count, "a number"),
    "optimizer_states": (_is_optimizer, "the state of one optimiser"),
    "lr_schedulers": (lambda value: value == [], "an empty list"),
    "loops": (_is_progress, "the progress of each loop"),
    "callbacks": (_is_states, "states by name"),
    "pytorch-lightning_version": (_is_version, "a version"),
}
_AVERAGES: dict[str, Field] = {
    "current_model_state": (_is_weights, "tensors by name"),
    "callbacks": (lambda value: "EMA" in value, "that of the averages"),
    "averaging_state": (
        lambda value: _is_weights(value) and "n_averaged" in value,
        "the number of averages",
    ),
}
