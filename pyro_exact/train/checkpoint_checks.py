"""What a checkpoint may hold: the members of its archive, their sizes, and the values that come out of them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pyro_exact.checks import shown
from pyro_exact.train.checksum import DamagedError

LARGEST_PICKLE = 2**26  # bytes of all that is no tensor; a curve of a million steps has 3 * 10**6
MOST_LEVELS = 24

_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/\w+)"
)
_PLAIN = (str, int, float, type(None))


def check_members(file: BinaryIO, size: int) -> int:
    """Make sure that an archive holds what `torch.save` writes, stored and not compressed; nothing of it is read.

    Args:
        file: The archive.
        size: Its bytes.

    Returns:
        The bytes of its pickle.

    Raises:
        DamagedError: If a member is another one, compressed, or twice there, or they declare more
            than the file has.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DamagedError(f"it is no archive ({error})") from error

    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise DamagedError(
                f"it holds {shown(member.filename)}, which `torch.save` does not write"
            )
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise DamagedError(
                f"{shown(member.filename)} is compressed, which `torch.save` does not do"
            )
    if len({member.filename for member in members}) < len(members):
        raise DamagedError("it has two members of the same name")
    if sum(member.file_size for member in members) > size:
        raise DamagedError("its members overlap")

    pickles = [member.file_size for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0] > LARGEST_PICKLE:
        raise DamagedError(
            f"it expects one pickle of at most {LARGEST_PICKLE} bytes; got {pickles}"
        )
    return pickles[0]


def check_values(checkpoint: object, size: int, pickle_size: int) -> None:
    """Make sure that what was read is no larger than the file that it came from, and of kinds that are expected.

    A value that is referred to several times counts each time: honest values take a byte of the
    pickle at least, so more of them than bytes are values that multiply.

    Args:
        checkpoint: What was read.
        size: Bytes of the file.
        pickle_size: Bytes of its pickle.

    Raises:
        DamagedError: If not, with the name of the field.
    """
    left, storages = pickle_size, dict[int, int]()

    def check(value: object, name: str, level: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or level > MOST_LEVELS:
            raise DamagedError(
                f"{name} holds more values than were written, or more than {MOST_LEVELS} levels"
            )

        if isinstance(value, Tensor):
            _check_tensor(value, name)
            storage = value.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, (str, int)):
                    raise DamagedError(f"{name} has the name {shown(key)}")
                check(
                    item,
                    f"{name}.{shown(key)}" if isinstance(key, int) else f"{name}.{key[:200]}",
                    level + 1,
                )
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(item, name, level + 1)
        elif not isinstance(value, _PLAIN):
            raise DamagedError(f"{name} expects tensors and plain values; got {shown(value)}")

    check(checkpoint, "checkpoint", 0)
    if sum(storages.values()) > size:
        raise DamagedError("its tensors declare more than the file has")


def check_fields(checkpoint: object, key: str) -> dict[str, Any]:
    """Return a checkpoint, if it has all that evaluating it and resuming it take.

    Args:
        checkpoint: What was read, and has passed `check_values`.
        key: The name of our own part.

    Raises:
        DamagedError: With the name of the first field that is missing, or of another kind.
    """
    if not isinstance(checkpoint, dict):
        raise DamagedError(f"it expects fields with names; got {shown(checkpoint)}")
    for name, (holds, expected) in {
        key: (_is_mapping, "what a run says of itself"),
        **_FIELDS,
    }.items():
        _expect(checkpoint, name, holds, expected)

    if checkpoint[key].get("step") != checkpoint["global_step"]:
        raise DamagedError(
            f"the field global_step expects that of the run; got {checkpoint['global_step']}"
        )
    if not _fits(checkpoint["optimizer_states"][0]["state"], checkpoint["state_dict"]):
        raise DamagedError(
            "the field optimizer_states expects the shapes of the weights; got others"
        )
    if _is_averaged(checkpoint[key]):
        for name, (holds, expected) in _AVERAGES.items():
            _expect(checkpoint, name, holds, expected)
        if _kinds(checkpoint["current_model_state"]) != _kinds(checkpoint["state_dict"]):
            raise DamagedError(
                "the field current_model_state expects the shapes and dtypes of state_dict; got others"
            )
    return checkpoint


def _expect(
    checkpoint: dict[str, Any], name: str, holds: Callable[[Any], bool], expected: str
) -> None:
    if name not in checkpoint:
        raise DamagedError(f"the field {name} is missing")
    if not holds(checkpoint[name]):
        raise DamagedError(f"the field {name} expects {expected}; got {shown(checkpoint[name])}")


def _check_tensor(tensor: Tensor, name: str) -> None:
    """Make sure that a tensor is a plain one, and holds no more than its memory."""
    if (
        tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.is_nested
        or tensor.is_meta
        or tensor.is_complex()
    ):
        raise DamagedError(
            f"{name} expects a dense tensor of real numbers; got one of {tensor.dtype} {tensor.layout}"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DamagedError(
            f"{name} declares shape {tuple(tensor.shape)}, which is more than was written"
        )


def _is_averaged(run: Mapping[str, Any]) -> bool:
    """Return whether the recipe of a run, which may be anything yet, asks for averaged weights."""
    recipe = run.get("recipe")
    training = recipe.get("training") if isinstance(recipe, Mapping) else None
    return isinstance(training, Mapping) and training.get("ema_decay") is not None


def _kinds(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def _fits(state: Mapping[int, Any], weights: Mapping[str, Tensor]) -> bool:
    """Return whether the moments of an optimiser have the shapes of some of the weights, in their order."""
    shapes = iter([tensor.shape for tensor in weights.values()])
    moments = [
        [moment.shape for name, moment in state[i].items() if name != "step"] for i in sorted(state)
    ]
    return all(any(found == [shape] * len(found) for shape in shapes) for found in moments)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_version(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)*[\w.+-]*", value) is not None


def _is_weights(value: Any) -> bool:
    """Return whether a value is tensors by name."""
    named = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return named and all(isinstance(tensor, Tensor) for tensor in value.values())


def _is_optimizer(value: Any) -> bool:
    """Return whether a value is the state of a single optimiser with a single group of parameters."""
    if not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping)):
        return False
    state, groups = value[0].get("state"), value[0].get("param_groups")
    if not (isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], Mapping)):
        return False

    numbers = groups[0].get("params")
    if not (
        isinstance(numbers, list)
        and numbers == [*range(len(numbers))]
        and isinstance(state, Mapping)
    ):
        return False
    return {*state} <= {*numbers} and all(map(_is_weights, state.values()))


def _is_progress(value: Any) -> bool:
    """Return whether a value is counts by name, by name, as loops have them; all four loops are there."""
    return (
        isinstance(value, Mapping)
        and {*_LOOPS} <= {*value}
        and all(map(_is_counts, value.values()))
    )


def _is_counts(value: Any) -> bool:
    return (
        all(map(_is_counts, value.values()))
        if isinstance(value, Mapping)
        else isinstance(value, (int, type(None)))
    )


_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "state_dict": (_is_weights, "tensors by name"),
    "global_step": (_is_count, "the number of steps"),
    "epoch": (_is_count, "a number"),
    "optimizer_states": (_is_optimizer, "the state of one optimiser"),
    "lr_schedulers": (lambda value: value == [], "an empty list"),
    "loops": (_is_progress, "the progress of each loop"),
    "callbacks": (
        lambda value: _is_mapping(value) and all(map(_is_mapping, value.values())),
        "states by name",
    ),
    "pytorch-lightning_version": (_is_version, "a version"),
}
_AVERAGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "current_model_state": (_is_weights, "tensors by name"),
    "callbacks": (lambda value: "WeightAveraging" in value, "that of the averages"),
    "averaging_state": (
        lambda value: _is_weights(value) and "n_averaged" in value,
        "the number of averages",
    ),
}
