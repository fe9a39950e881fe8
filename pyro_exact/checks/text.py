"""Names and values in error messages, and names of files."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

Choice = TypeVar("Choice")

LONGEST_SHOWN = 200  # characters of a value in an error


def shown(value: object) -> str:
    """Return a short `repr` of any value, even when the value is large, deep or self-referential.

    This should be used in error messages for values from files and checkpoints.

    Example:
        >>> shown([[1, 2], list(range(10**6)), 10**10_000])
        '[[1, 2], [0, 1, 2, 3, 4, 5, 6, 7, ...], an integer of 33220 bits]'
    """
    text = _ShortRepr().repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


class _ShortRepr(reprlib.Repr):
    """A `repr` with a limited count of elements, levels and characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"an integer of {x.bit_length()} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring]) + ("..." if len(x) > self.maxstring else "")

    def repr_instance(self, x: object, level: int) -> str:
        plain = isinstance(x, (bool, float, complex, type(None)))
        return repr(x) if plain else f"<{type(x).__name__}>"


def printable(text: object) -> str:
    r"""Return text with control characters written as escapes.

    This should be used for names from elsewhere, for example names of files and of arrays in a
    file, because a terminal would obey a control sequence in a name, which could hide or rewrite a
    message.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def check_path(owner: str, name: str, path: object) -> Path:
    """Return the name of a file or a folder as a path.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        path: The value.

    Raises:
        TypeError: If the value is neither a string nor a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"{owner} expects {name} as a string or a path; got {shown(path)}. Pass the name of a "
            f"file."
        )
    return Path(path)


def check_choice(owner: str, name: str, value: Choice, choices: Sequence[Choice]) -> Choice:
    """Return a value that must be in several choices; otherwise raise ValueError."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise ValueError(
            f"{owner} expects {name} {expected}; got {shown(value)}. Choose one of these values."
        )
    return value
