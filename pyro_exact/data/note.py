"""Warnings about data that could be read in more than one way."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pyro_exact.checks import printable

_SHOWN = 5


class DataWarning(UserWarning):
    """The rule by which ambiguous data were read, or files that were not read.

    The command line prints these warnings.
    """


def note(message: str) -> None:
    """Warn about a rule that was used to read data."""
    warnings.warn(message, DataWarning, stacklevel=2)


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list as text, and the number of the remaining ones."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more
