"""Limits of the memory used to build a model, and detection of out-of-memory errors."""

from __future__ import annotations

from typing import NamedTuple

# Parts of the messages of the many errors that torch and other libraries raise when memory ends.
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
    """Limits of the resources for building a model.

    Attributes:
        bytes: Bytes that may be allocated in total.
        calls: Calls of torch; building a model takes a few calls for each weight.
    """

    bytes: int
    calls: int


# 16 GiB, or four billion weights in float32. The largest recipe of the library takes 4,000 calls.
LARGEST_MODEL = Limits(bytes=2**34, calls=20_000)


class TooLargeError(ValueError):
    """A model exceeds the limits."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is exhausted."""
    if isinstance(error, MemoryError):
        return True

    kinds = (RuntimeError, ImportError, OSError)
    message = str(error).lower()
    return isinstance(error, kinds) and any(words in message for words in _NO_MEMORY)
