"""Plain values, as YAML and checkpoints hold them, checked against the signature of what they are for."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser


def arguments(
    function: Callable[..., object], values: object, source: str, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """Return plain values as keyword arguments, each of the type that its annotation asks for.

    Types are those of the command line, so ``1e-3``, a string to YAML, is a number where one is asked for. A parameter
    that is a dataclass takes a mapping, checked in the same way.

    Args:
        function: A function, or a class, with annotated parameters.
        values: Names and plain values.
        source: What to call them in an error.
        leave_out: Parameters that come from elsewhere.

    Raises:
        ValueError: On an unknown name, with the nearest known one, a missing one, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{source} expects names with values; got {values!r}. Write `name: value`, one a line.")
    parameters = {k: p for k, p in inspect.signature(function).parameters.items() if k not in leave_out}
    for name in values:
        if name not in parameters:
            hint = nearest(str(name), parameters)
            raise ValueError(f"{source} has an unknown key {name!r}.{hint} Known: {', '.join(parameters)}.")
    missing = [name for name, p in parameters.items() if p.default is p.empty and name not in values]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}. Add it; `pyro-exact recipes --show NAME` shows an example."
        )
    hints = typing.get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    return {name: _typed(value, hints[name], f"{source}: {name}") for name, value in values.items()}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _typed(value: object, hint: Any, source: str) -> object:
    options = typing.get_args(hint) or (hint,)
    for option in options:
        if is_dataclass(option) and isinstance(option, type) and value is not None:
            return option(**arguments(option, value, source))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        if value is None and type(None) not in options:  # which jsonargparse takes for anything
            raise ArgumentError(None, "")
        return parser.parse_object({"value": value}).value
    except ArgumentError:
        raise ValueError(f"{source} expects {inspect.formatannotation(hint)}; got {value!r}.") from None
