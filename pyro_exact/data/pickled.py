"""Read arrays out of a pickle without running it: only arrays and plain values are understood.

A pickle is a program for a stack machine, and `pickle.load` runs any code that it names. This
module reads the same program, and refuses all that does not make numbers, text, lists, tuples,
dictionaries and arrays of numbers. The contents of arrays stay in the file, so that these can be
larger than memory.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable
from pyro_exact.data.pickle_values import (
    Name,
    RefusedPickleError,
    Span,
    StoredArray,
    call,
    set_state,
    text,
)

LONGEST_TEXT = 2**16  # bytes that are read at once; longer contents stay in the file
MOST_VALUES = 2**24  # values of a pickle

_MARK = object()

# The instructions by kind, with the form (of `struct`) of the number that follows.
_IGNORED = {pickle.PROTO: "<B", pickle.FRAME: "<Q"}
_NUMBERS = {
    pickle.BININT: "<i",
    pickle.BININT1: "<B",
    pickle.BININT2: "<H",
    pickle.BINFLOAT: ">d",
}
_BYTES = {
    pickle.SHORT_BINSTRING: "<B",
    pickle.BINSTRING: "<i",
    pickle.SHORT_BINBYTES: "<B",
    pickle.BINBYTES: "<I",
    pickle.BINBYTES8: "<Q",
    pickle.BYTEARRAY8: "<Q",
}
_TEXTS = {
    pickle.SHORT_BINUNICODE: "<B",
    pickle.BINUNICODE: "<I",
    pickle.BINUNICODE8: "<Q",
}
_PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}

_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False, pickle.MARK: _MARK}
_EMPTY: dict[bytes, Callable[[], object]] = {
    pickle.EMPTY_DICT: dict,
    pickle.EMPTY_LIST: list,
    pickle.EMPTY_TUPLE: tuple,
}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


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


class _Machine:
    """The stack machine of a pickle, with the instructions of plain values and arrays."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        """Return the value of the pickle."""
        for _ in range(MOST_VALUES):
            code = self.file.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            self._step(code)
        raise RefusedPickleError(f"more than {MOST_VALUES:,} values")

    def _step(self, code: bytes) -> None:
        """Run one instruction."""
        if code in _IGNORED:
            self._number(_IGNORED[code])
        elif code in _NUMBERS:
            self.stack.append(self._number(_NUMBERS[code]))
        elif code in _BYTES:
            self._push_bytes(_BYTES[code], is_text=False)
        elif code in _TEXTS:
            self._push_bytes(_TEXTS[code], is_text=True)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self.stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            self.stack.append(self._last(_TUPLES[code]))
        elif code in _PUTS:
            self.memo[self._number(_PUTS[code])] = self.stack[-1]
        elif code in _GETS:
            self.stack.append(self.memo[self._number(_GETS[code])])
        elif code in _METHODS:
            _METHODS[code](self)
        else:
            raise RefusedPickleError(f"the instruction {code!r}")

    # Numbers and text
    # ----------------------------------------------------------------------------------------------

    def _number(self, form: str) -> Any:
        content = self.file.read(struct.calcsize(form))
        return struct.unpack(form, content)[0]

    def long(self) -> None:
        """Push a whole number of up to 255 bytes."""
        content = self.file.read(self._number("<B"))
        self.stack.append(int.from_bytes(content, "little", signed=True))

    def _push_bytes(self, form: str, is_text: bool) -> None:
        """Push bytes or text; long ones as a `Span`."""
        size = self._number(form)
        offset = self.file.tell()
        if not 0 <= size <= self.size - offset:
            raise RefusedPickleError("one that is cut short")

        if size > LONGEST_TEXT:
            self.file.seek(size, 1)
            self.stack.append(Span(offset, size, is_text))
            return
        content = self.file.read(size)
        self.stack.append(content.decode() if is_text else content)

    # Containers
    # ----------------------------------------------------------------------------------------------

    def _last(self, count: int) -> tuple[Any, ...]:
        """Remove and return the last values."""
        if count > len(self.stack):
            raise RefusedPickleError("one that is damaged")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def _since_mark(self) -> list[Any]:
        """Remove and return the values after the last mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def pop(self) -> None:
        """Remove the last value."""
        self._last(1)

    def make_tuple(self) -> None:
        """Push a tuple of the values after the last mark."""
        self.stack.append((*self._since_mark(),))

    def append(self) -> None:
        """Add the last value to the list below it."""
        self._extend([*self._last(1)])

    def appends(self) -> None:
        """Add the values after the last mark to the list below them."""
        self._extend(self._since_mark())

    def set_item(self) -> None:
        """Add a key and a value to the dictionary below them."""
        self._update([*self._last(2)])

    def set_items(self) -> None:
        """Add the keys and values after the last mark to the dictionary below them."""
        self._update(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise RefusedPickleError("one that is damaged")
        self.stack[-1].extend(values)

    def _update(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise RefusedPickleError("one that is damaged")
        keys = [text(key) for key in values[::2]]
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    # The memo and arrays
    # ----------------------------------------------------------------------------------------------

    def memoize(self) -> None:
        """Store the last value under the next number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def name(self) -> None:
        """Push a name that is written as two lines."""
        module = self.file.readline(LONGEST_TEXT).decode()
        name = self.file.readline(LONGEST_TEXT).decode()
        self.stack.append(Name(module.rstrip("\n"), name.rstrip("\n")))

    def stack_name(self) -> None:
        """Push a name that is on the stack as two texts."""
        module, name = self._last(2)
        self.stack.append(Name(text(module), text(name)))

    def reduce(self) -> None:
        """Push the result of a function that makes arrays."""
        function, arguments = self._last(2)
        self.stack.append(call(function, arguments))

    def build(self) -> None:
        """Set the state of the array or the dtype below it."""
        target, state = self._last(2)
        set_state(target, state)
        self.stack.append(target)


_METHODS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.POP: _Machine.pop,
    pickle.LONG1: _Machine.long,
    pickle.TUPLE: _Machine.make_tuple,
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.appends,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_items,
    pickle.MEMOIZE: _Machine.memoize,
    pickle.GLOBAL: _Machine.name,
    pickle.STACK_GLOBAL: _Machine.stack_name,
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
}
