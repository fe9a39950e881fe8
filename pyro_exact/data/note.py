"""How data from elsewhere were read, where a user may have meant it otherwise."""

import warnings
from collections.abc import Sequence

from pyro_exact.checks import printable

_SHOWN = 5


class DataWarning(UserWarning):
    """A rule by which data were read, or something beside them that was left out; the command line prints it."""


def note(message: str) -> None:
    """Warn of a rule that was applied to data."""
    warnings.warn(message, DataWarning, stacklevel=2)


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more
