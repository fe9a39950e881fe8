"""Read arrays out of a pickle without running it: only arrays and plain values are understood.

A pickle is a program for a stack machine, and `pickle.load` runs any code that it names. This
module reads the same program, and refuses all that does not make numbers, text, lists, tuples,
dictionaries and arrays of numbers. The contents of arrays stay in the file, so that these can be
larger than memory.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable, shown

_BYTES: np.dtype[Any] = np.dtype(np.uint8)

LONGEST_TEXT = 2**16  # bytes that are read at once; longer contents stay in the file
MOST_VALUES = 2**24  # values of a pickle


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


class RefusedPickleError(ValueError):
    """A pickle that is damaged, or that does more than make arrays and plain values."""


def read_pickle(path: Path) -> object:
    """Return the value of a pickle: plain values, in which arrays are `StoredArray`.

    No code is run, and nothing larger than the file is allocated. Protocols 1 to 5 are understood,
    of Python 2 and 3.

    Args:
        path: The file.

    Raises:
        RefusedPickleError: If the pickle is damaged, or makes anything else.
    """
    with path.open("rb") as file:
        try:
            return _Machine(file, path.stat().st_size).run()
        except RefusedPickleError as error:
            reason = str(error)
        except (ArithmeticError, LookupError, TypeError, ValueError, struct.error):
            reason = "one that is damaged"
    raise RefusedPickleError(
        f"{printable(path)} expects a pickle of arrays and plain values; got {reason}. Download it "
        f"again from its authors."
    )


def elements(path: Path, array: StoredArray) -> NDArray[Any]:
    """Return the elements of an array in memory.

    Args:
        path: The file that holds the array.
        array: The array.

    Raises:
        RefusedPickleError: If the elements are not as many as the shape says.
    """
    content = array.content
    if isinstance(content, Span):
        with path.open("rb") as file:
            file.seek(content.offset)
            read = file.read(content.size)
        content = read.decode().encode("latin1") if content.is_text else read

    if len(content) != array.size():
        raise RefusedPickleError(
            f"{printable(path)} expects {array.size():,} bytes, for shape {array.shape} of "
            f"{array.dtype}; got {len(content):,}. Download it again from its authors."
        )
    return np.frombuffer(content, array.dtype).reshape(array.shape)


class _Name(NamedTuple):
    """A function or class that a pickle names; it is never imported."""

    module: str
    name: str


@dataclass
class _Type:
    """A dtype while it is built."""

    code: str
    order: str = "="

    def made(self) -> np.dtype[Any]:
        if self.code not in _CODES or self.order not in ("<", ">", "=", "|"):
            raise RefusedPickleError(f"an array of type {shown(self.order + self.code)}")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


_CODES = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) | {"f4", "f8"}
_MARK = object()


class _Machine:
    """The stack machine of a pickle, with the instructions of plain values and arrays."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        """Return the value of the pickle."""
        for _ in range(MOST_VALUES):
            code = self.file.read(1)
            if code == pickle.STOP:
                return self.stack.pop()

            if (step := _STEPS.get(code)) is None:
                raise RefusedPickleError(f"the instruction {code!r}")
            step(self)
        raise RefusedPickleError(f"more than {MOST_VALUES:,} values")

    # Numbers and text
    # ----------------------------------------------------------------------------------------------

    def number(self, form: str) -> Any:
        """Read a number in a form of `struct`."""
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def long(self) -> None:
        """Push a whole number of up to 255 bytes."""
        content = self.file.read(self.number("<B"))
        self.stack.append(int.from_bytes(content, "little", signed=True))

    def string(self, form: str, is_text: bool) -> None:
        """Push bytes or text; long ones as a `Span`."""
        size, offset = self.number(form), self.file.tell()
        if not 0 <= size <= self.size - offset:
            raise RefusedPickleError("one that is cut short")

        if size > LONGEST_TEXT:
            self.file.seek(size, 1)
            self.stack.append(Span(offset, size, is_text))
        else:
            content = self.file.read(size)
            self.stack.append(content.decode() if is_text else content)

    # Containers
    # ----------------------------------------------------------------------------------------------

    def since_mark(self) -> list[Any]:
        """Remove and return the values after the last mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise RefusedPickleError("one that is damaged")

        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        """Remove and return the last values."""
        if count > len(self.stack):
            raise RefusedPickleError("one that is damaged")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def extend(self, values: list[Any]) -> None:
        """Add values to the list below them."""
        if not isinstance(self.stack[-1], list):
            raise RefusedPickleError("one that is damaged")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Add keys and values to the dictionary below them; keys are text."""
        if not isinstance(self.stack[-1], dict):
            raise RefusedPickleError("one that is damaged")
        keys = map(_text, values[::2])
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    # Arrays
    # ----------------------------------------------------------------------------------------------

    def name(self) -> None:
        """Push a name that is written as two lines."""
        module, name = (self.file.readline(LONGEST_TEXT).decode().rstrip("\n") for _ in range(2))
        self.stack.append(_Name(module, name))

    def call(self) -> None:
        """Push the result of a function that makes arrays; refuse all other functions."""
        function, arguments = self.last(2)
        make = _FUNCTIONS.get(function) if isinstance(function, _Name) else None
        if make is None:
            called = ".".join(function) if isinstance(function, _Name) else function
            raise RefusedPickleError(f"one that calls {shown(called)}")
        self.stack.append(make(*arguments))

    def build(self) -> None:
        """Set the state of the array or the dtype below it."""
        target, state = self.last(2)
        if isinstance(target, _Type):
            _version, order, *structure = state
            if any(part is not None for part in structure[:3]):
                raise RefusedPickleError("an array of structures")
            target.order = _text(order)
        elif isinstance(target, StoredArray):
            _version, shape, kind, columns_first, content = state
            _set(target, content, kind, shape, "F" if columns_first else "C")
        else:
            raise RefusedPickleError("an object")
        self.stack.append(target)


def _text(value: object) -> str:
    """Return text, which is bytes in a pickle of Python 2."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise RefusedPickleError("one that is damaged")
    return value


def _set(array: StoredArray, content: Any, kind: Any, shape: Any, order: Any) -> None:
    """Set type, shape and elements of an array."""
    sizes = tuple(shape)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise RefusedPickleError("one that is damaged")
    if not isinstance(kind, _Type) or not isinstance(content, (bytes, Span)):
        raise RefusedPickleError("an array of objects")
    if _text(order) != "C" and len(sizes) > 1:
        raise RefusedPickleError("an array in Fortran order")
    array.dtype, array.shape, array.content = kind.made(), sizes, content


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> StoredArray:
    array = StoredArray()
    _set(array, content, kind, shape, order)
    return array


def _scalar(kind: _Type, content: bytes) -> int | float:
    return np.frombuffer(content, kind.made(), count=1).item()


def _encoded(content: Any, encoding: str) -> Any:
    """Return the bytes that a pickle of protocol 2 stores as text of Latin 1."""
    if encoding != "latin1":
        raise RefusedPickleError("one that is damaged")
    return content if isinstance(content, Span) else _text(content).encode("latin1")


# Numpy 2 has renamed its modules.
_FUNCTIONS: dict[_Name, Callable[..., Any]] = {
    _Name("numpy", "dtype"): lambda code, *_flags: _Type(_text(code)),
    _Name("_codecs", "encode"): _encoded,
}
for _core in ("numpy.core", "numpy._core"):
    _FUNCTIONS[_Name(f"{_core}.multiarray", "_reconstruct")] = lambda *_unused: StoredArray()
    _FUNCTIONS[_Name(f"{_core}.multiarray", "scalar")] = _scalar
    _FUNCTIONS[_Name(f"{_core}.numeric", "_frombuffer")] = _from_buffer

_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    pickle.PROTO: lambda m: m.number("<B"),
    pickle.FRAME: lambda m: m.number("<Q"),
    pickle.POP: lambda m: m.last(1),
    pickle.MARK: lambda m: m.stack.append(_MARK),
    # Constants and numbers
    pickle.NONE: lambda m: m.stack.append(None),
    pickle.NEWTRUE: lambda m: m.stack.append(True),
    pickle.NEWFALSE: lambda m: m.stack.append(False),
    pickle.BININT: lambda m: m.stack.append(m.number("<i")),
    pickle.BININT1: lambda m: m.stack.append(m.number("<B")),
    pickle.BININT2: lambda m: m.stack.append(m.number("<H")),
    pickle.BINFLOAT: lambda m: m.stack.append(m.number(">d")),
    pickle.LONG1: _Machine.long,
    # Bytes and text
    pickle.SHORT_BINSTRING: partial(_Machine.string, form="<B", is_text=False),
    pickle.BINSTRING: partial(_Machine.string, form="<i", is_text=False),
    pickle.SHORT_BINBYTES: partial(_Machine.string, form="<B", is_text=False),
    pickle.BINBYTES: partial(_Machine.string, form="<I", is_text=False),
    pickle.BINBYTES8: partial(_Machine.string, form="<Q", is_text=False),
    pickle.BYTEARRAY8: partial(_Machine.string, form="<Q", is_text=False),
    pickle.SHORT_BINUNICODE: partial(_Machine.string, form="<B", is_text=True),
    pickle.BINUNICODE: partial(_Machine.string, form="<I", is_text=True),
    pickle.BINUNICODE8: partial(_Machine.string, form="<Q", is_text=True),
    # Containers
    pickle.EMPTY_DICT: lambda m: m.stack.append({}),
    pickle.EMPTY_LIST: lambda m: m.stack.append([]),
    pickle.EMPTY_TUPLE: lambda m: m.stack.append(()),
    pickle.TUPLE: lambda m: m.stack.append(tuple(m.since_mark())),
    pickle.TUPLE1: lambda m: m.stack.append(m.last(1)),
    pickle.TUPLE2: lambda m: m.stack.append(m.last(2)),
    pickle.TUPLE3: lambda m: m.stack.append(m.last(3)),
    pickle.APPEND: lambda m: m.extend([*m.last(1)]),
    pickle.APPENDS: lambda m: m.extend(m.since_mark()),
    pickle.SETITEM: lambda m: m.update([*m.last(2)]),
    pickle.SETITEMS: lambda m: m.update(m.since_mark()),
    # The memo
    pickle.BINPUT: lambda m: m.memo.update({m.number("<B"): m.stack[-1]}),
    pickle.LONG_BINPUT: lambda m: m.memo.update({m.number("<I"): m.stack[-1]}),
    pickle.MEMOIZE: lambda m: m.memo.update({len(m.memo): m.stack[-1]}),
    pickle.BINGET: lambda m: m.stack.append(m.memo[m.number("<B")]),
    pickle.LONG_BINGET: lambda m: m.stack.append(m.memo[m.number("<I")]),
    # Arrays
    pickle.GLOBAL: _Machine.name,
    pickle.STACK_GLOBAL: lambda m: m.stack.append(_Name(*map(_text, m.last(2)))),
    pickle.REDUCE: _Machine.call,
    pickle.BUILD: _Machine.build,
}
