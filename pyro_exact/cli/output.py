"""Output of the commands, with control characters escaped: a name in a file may contain some."""

from __future__ import annotations

import sys

from pyro_exact.checks import printable


def say(message: str) -> None:
    """Print an error or a warning to stderr."""
    print(f"pyro-exact: {_escaped(message)}", file=sys.stderr)


def tell(message: str, end: str = "\n") -> None:
    """Print a result to stdout."""
    print(_escaped(message), end=end)


def _escaped(message: str) -> str:
    return "\n".join(printable(line) for line in message.split("\n"))
