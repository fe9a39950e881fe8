"""Warnings about data that could be read in several ways."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pyro_exact.checks import printable

_SHOWN = 5


class DataWarning(UserWarning):
    """The rule by which ambiguous data were read, or files that were not read.

    These warnings are printed by the command line.
    """


def note(message: str) -> None:
    """Warn about a rule that was used to read data."""
    warnings.warn(message, DataWarning, stacklevel=2)


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list as text, and how many remain."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more
