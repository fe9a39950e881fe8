"""How much a model may take, and how to tell that memory has ended."""

from __future__ import annotations

from typing import NamedTuple

_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory",
    "could not create a primitive",
    "failed to map segment",
    "can't start new thread",
)


class Limits(NamedTuple):
    """What building a model may take.

    Attributes:
        bytes: Allocated on the way, all together.
        calls: Of torch, which are mostly one for each weight and each step of its initialisation.
    """

    bytes: int
    calls: int


LARGEST_MODEL = Limits(
    2**34, 20_000
)  # bytes of four billion weights; the largest recipe that ships takes 4,000 calls


class TooLargeError(ValueError):
    """A model takes more than it may."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is one of the many that torch, and what is below it, raise where memory ends."""
    if isinstance(error, MemoryError):
        return True
    kinds = (RuntimeError, ImportError, OSError)
    return isinstance(error, kinds) and any(words in str(error).lower() for words in _NO_MEMORY)
