"""What a command says: names from elsewhere reach no terminal as they are."""

from __future__ import annotations

import sys

from pyro_exact.checks import printable


def say(message: str) -> None:
    """Print an error or a warning."""
    print(f"pyro-exact: {_lines(message)}", file=sys.stderr)


def tell(message: str, end: str = "\n") -> None:
    """Print a result."""
    print(_lines(message), end=end)


def _lines(message: str) -> str:
    """Return a message with the control characters of each line escaped."""
    return "\n".join(printable(line) for line in message.split("\n"))
