"""Parse plain values, for example from YAML files and checkpoints, as keyword arguments."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from pyro_exact.checks import shown
from pyro_exact.recipes.plain import LOADER

LONGEST_NAME = 255  # bytes, the limit of file systems


def parse_kwargs(
    function: Callable[..., object], values: object, source: str, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """Return plain values as keyword arguments, converted to the annotated types.

    Types are parsed as on the command line; for example ``1e-3``, a string in YAML, becomes a
    float. When the type of a parameter is a dataclass, the value must be a mapping, which is parsed
    in the same way.

    Args:
        function: A function or a class with annotated parameters.
        values: Mapping from names to plain values.
        source: Name of the values in an error.
        leave_out: Parameters that must not be set.

    Raises:
        ValueError: If a name is unknown, with the closest known name, if a required parameter is
            missing, or a value has another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{source} expects names with values; got {shown(values)}. Write a line "
            "`name: value` for each."
        )

    signature = inspect.signature(function).parameters
    parameters = {name: p for name, p in signature.items() if name not in leave_out}
    _check_names(values, parameters, source)

    annotated = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    hints = typing.get_type_hints(annotated)
    return {name: _typed(value, hints[name], f"{source}: {name}") for name, value in values.items()}


def check_name(name: str, owner: str) -> str:
    """Return a name that can be the name of a folder.

    Args:
        name: The name.
        owner: Description of the object with this name, used in the error.

    Raises:
        ValueError: If the name is empty, ``.`` or ``..``, too long, or has slashes or control
            characters.
    """
    valid = name.isprintable() and name not in ("", ".", "..") and not {"/", "\\"} & {*name}
    if not valid or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{owner} expects a name that is valid for a folder, of at most {LONGEST_NAME} bytes; "
            f"got {shown(name)}. Choose a name without slashes and control characters."
        )
    return name


def closest_match(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known name that is most similar to ``name``, or "".

    Dotted names, such as ``training.lr``, are compared with the names of the same group first.
    """
    names = list(known)
    group, _, _ = name.rpartition(".")
    siblings = [other for other in names if group and other.rpartition(".")[0] == group]

    match = _closest(name, siblings) or _closest(name, names)
    return f" Did you mean {match!r}?" if match else ""


def _closest(name: str, known: Sequence[str]) -> str | None:
    """Return the name with the most similar spelling, the same initials, or the same beginning."""
    last = name.rpartition(".")[2]
    by_last = {other.rpartition(".")[2]: other for other in known}

    spelled_alike = difflib.get_close_matches(last, by_last, n=1)
    abbreviated = [other for other in by_last if _initials(other) == last]
    begun = [other for other in by_last if len(last) > 1 and other.startswith(last)]

    candidates = (*spelled_alike, *abbreviated, *begun)
    return by_last[candidates[0]] if candidates else None


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))


def _check_names(
    values: Mapping[Any, Any], parameters: Mapping[str, inspect.Parameter], source: str
) -> None:
    """Raise ValueError if a value has no parameter, or a required parameter has no value."""
    for name in values:
        if name not in parameters:
            hint = closest_match(str(name), parameters)
            raise ValueError(
                f"{source} has an unknown key {shown(name)}.{hint} Known: {', '.join(parameters)}."
            )

    required = [name for name, p in parameters.items() if p.default is p.empty]
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}. Add it; `pyro-exact recipes --show NAME` shows "
            "an example."
        )


def _typed(value: object, hint: Any, source: str) -> object:
    """Return a value converted to an annotated type, or raise ValueError."""
    options = typing.get_args(hint) or (hint,)
    for option in options:
        if is_dataclass(option) and isinstance(option, type) and value is not None:
            return option(**parse_kwargs(option, value, source))

    parser = ArgumentParser(exit_on_error=False, parser_mode=LOADER)
    parser.add_argument("--value", type=hint)
    try:
        # jsonargparse accepts None for any type.
        if value is None and type(None) not in options:
            raise ArgumentError(None, "")
        return parser.parse_object({"value": value}).value
    except ArgumentError:
        raise ValueError(
            f"{source} expects {inspect.formatannotation(hint)}; got {shown(value)}. Pass one."
        ) from None
