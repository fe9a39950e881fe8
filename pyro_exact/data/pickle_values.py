"""Arrays of a pickle: the calls and states by which numpy stores arrays, without running numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyro_exact.checks import shown

_BYTES: np.dtype[Any] = np.dtype(np.uint8)
_CODES = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) | {"f4", "f8"}
_ORDERS = ("<", ">", "=", "|")


class RefusedPickleError(ValueError):
    """A pickle that is damaged, or that does more than make arrays and plain values."""


class Span(NamedTuple):
    """Bytes in a file.

    Attributes:
        offset: Position of the first byte.
        size: How many bytes there are.
        is_text: Whether they are text, in which old pickles store each byte as a character.
    """

    offset: int
    size: int
    is_text: bool = False


@dataclass
class StoredArray:
    """An array of numbers in a pickle, in C order.

    Attributes:
        shape: Shape of the array.
        dtype: Type of the elements.
        content: The elements: their place in the file, or the elements of a small array.
    """

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = _BYTES
    content: Span | bytes = b""

    def size(self) -> int:
        """Return the bytes that shape and dtype declare."""
        return math.prod(self.shape) * self.dtype.itemsize


class Name(NamedTuple):
    """A function or class that a pickle names; it is never imported."""

    module: str
    name: str


@dataclass
class StoredType:
    """A dtype while it is built."""

    code: str
    order: str = "="

    def made(self) -> np.dtype[Any]:
        """Return the dtype; refuse all but integers and floats."""
        if self.code not in _CODES or self.order not in _ORDERS:
            raise RefusedPickleError(f"an array of type {shown(self.order + self.code)}")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


def text(value: object) -> str:
    """Return text, which is bytes in a pickle of Python 2."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise RefusedPickleError("one that is damaged")
    return value


def call(function: object, arguments: tuple[Any, ...]) -> Any:
    """Return the result of a function that makes arrays; refuse all other functions.

    Args:
        function: The value that the pickle calls.
        arguments: The arguments.
    """
    make = FUNCTIONS.get(function) if isinstance(function, Name) else None
    if make is None:
        called = ".".join(function) if isinstance(function, Name) else function
        raise RefusedPickleError(f"one that calls {shown(called)}")
    return make(*arguments)


def set_state(target: object, state: Any) -> None:
    """Set the state of an array or a dtype; refuse all other objects.

    Args:
        target: The object.
        state: The state that numpy has stored.
    """
    if isinstance(target, StoredType):
        _version, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise RefusedPickleError("an array of structures")
        target.order = text(order)

    elif isinstance(target, StoredArray):
        _version, shape, kind, columns_first, content = state
        order = "F" if columns_first else "C"
        _set_array(target, content, kind, shape, order)

    else:
        raise RefusedPickleError("an object")


def _set_array(array: StoredArray, content: Any, kind: Any, shape: Any, order: Any) -> None:
    """Set type, shape and elements of an array."""
    sizes = tuple(shape)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise RefusedPickleError("one that is damaged")

    if not isinstance(kind, StoredType) or not isinstance(content, (bytes, Span)):
        raise RefusedPickleError("an array of objects")
    if text(order) != "C" and len(sizes) > 1:
        raise RefusedPickleError("an array in Fortran order")

    array.dtype = kind.made()
    array.shape = sizes
    array.content = content


def _new_type(code: object, *_flags: object) -> StoredType:
    return StoredType(text(code))


def _new_array(*_arguments: object) -> StoredArray:
    return StoredArray()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> StoredArray:
    array = StoredArray()
    _set_array(array, content, kind, shape, order)
    return array


def _scalar(kind: StoredType, content: bytes) -> int | float:
    return np.frombuffer(content, kind.made(), count=1).item()


def _encoded(content: Any, encoding: str) -> Any:
    """Return the bytes that a pickle of protocol 2 stores as text of Latin 1."""
    if encoding != "latin1":
        raise RefusedPickleError("one that is damaged")
    return content if isinstance(content, Span) else text(content).encode("latin1")


# Numpy 2 has renamed its modules.
FUNCTIONS: dict[Name, Callable[..., Any]] = {
    Name("numpy", "dtype"): _new_type,
    Name("_codecs", "encode"): _encoded,
    Name("numpy.core.multiarray", "_reconstruct"): _new_array,
    Name("numpy._core.multiarray", "_reconstruct"): _new_array,
    Name("numpy.core.multiarray", "scalar"): _scalar,
    Name("numpy._core.multiarray", "scalar"): _scalar,
    Name("numpy.core.numeric", "_frombuffer"): _from_buffer,
    Name("numpy._core.numeric", "_frombuffer"): _from_buffer,
}
