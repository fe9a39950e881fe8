"""Plain values, as YAML and checkpoints hold them, checked against the signature of what they are for."""

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

LONGEST_NAME = 255  # bytes, as file systems have it


def parse_kwargs(
    function: Callable[..., object], values: object, source: str, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """Return plain values as keyword arguments, each of the type that its annotation asks for.

    Types are those of the command line, so ``1e-3``, a string to YAML, is a number where one is
    asked for. A parameter that is a dataclass takes a mapping, checked in the same way.

    Args:
        function: A function, or a class, with annotated parameters.
        values: Names and plain values.
        source: What to call them in an error.
        leave_out: Parameters that come from elsewhere.

    Raises:
        ValueError: On an unknown name, with the nearest known one, a missing one, or a value of
            another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{source} expects names with values; got {shown(values)}. Write `name: value`, one a line."
        )
    parameters = {
        k: p for k, p in inspect.signature(function).parameters.items() if k not in leave_out
    }
    for name in values:
        if name not in parameters:
            hint = closest_match(str(name), parameters)
            raise ValueError(
                f"{source} has an unknown key {shown(name)}.{hint} Known: {', '.join(parameters)}."
            )
    missing = [
        name for name, p in parameters.items() if p.default is p.empty and name not in values
    ]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}. Add it; `pyro-exact recipes --show NAME` shows an example."
        )
    hints = typing.get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    return {name: _typed(value, hints[name], f"{source}: {name}") for name, value in values.items()}


def check_name(name: str, owner: str) -> str:
    """Return a name if a folder can be called so: one part of a path, and nothing that a terminal would obey.

    Args:
        name: What came.
        owner: What is called so, for the error.

    Raises:
        ValueError: If it is empty, ``.`` or ``..``, too long, or has slashes or control characters.
    """
    right = name.isprintable() and name not in ("", ".", "..") and not {"/", "\\"} & {*name}
    if not right or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{owner} expects as its name one that a folder can have, of at most {LONGEST_NAME} bytes; got "
            f"{shown(name)}. Choose one without slashes and control characters."
        )
    return name


def closest_match(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or nothing: one spelled alike, or that ``name`` abbreviates.

    Of names in parts, as ``training.lr``, those with the same parts before the last one come first.
    """
    names = list(known)
    before, _, _ = name.rpartition(".")
    siblings = [other for other in names if before and other.rpartition(".")[0] == before]
    found = _alike(name, siblings) or _alike(name, names)
    return f" Did you mean {found!r}?" if found else ""


def _alike(name: str, known: Sequence[str]) -> str | None:
    """Return the name that is spelled most alike, or whose words have the same initials, or that begins so."""
    last = name.rpartition(".")[2]
    by_last = {other.rpartition(".")[2]: other for other in known}
    close = difflib.get_close_matches(last, by_last, n=1)
    initials = [
        other for other in by_last if "".join(word[:1] for word in other.split("_")) == last
    ]
    longer = [other for other in by_last if len(last) > 1 and other.startswith(last)]
    return next((by_last[other] for other in (*close, *initials, *longer)), None)


def _typed(value: object, hint: Any, source: str) -> object:
    options = typing.get_args(hint) or (hint,)
    for option in options:
        if is_dataclass(option) and isinstance(option, type) and value is not None:
            return option(**parse_kwargs(option, value, source))
    parser = ArgumentParser(exit_on_error=False, parser_mode=LOADER)
    parser.add_argument("--value", type=hint)
    try:
        if value is None and type(None) not in options:  # which jsonargparse takes for anything
            raise ArgumentError(None, "")
        return parser.parse_object({"value": value}).value
    except ArgumentError:
        raise ValueError(
            f"{source} expects {inspect.formatannotation(hint)}; got {shown(value)}. Pass one."
        ) from None
