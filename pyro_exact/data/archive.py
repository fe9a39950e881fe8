"""Read arrays of an .npz file from any source: sizes are checked before an array is read."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable

LARGEST_HEADER = 10_000  # bytes of the header of an array; the limit of numpy

# Bytes that are read at once. It limits the directory of an archive, which may declare any size.
LARGEST_READ = 2**22

# Arrays may take this much more memory than their file, and this many times as much: compressed
# images do, but a zip bomb takes far more.
SPARE_BYTES = 2**27
LARGEST_RATIO = 4

_LONGEST = 160  # characters of an error of numpy or zipfile, which may quote bytes of the file

# Errors of numpy and zipfile on bytes that are no archive of plain arrays.
_DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class Arrays(NamedTuple):
    """The contents of an .npz file.

    Attributes:
        arrays: The requested arrays, by name.
        others: Names of the other members.
    """

    arrays: dict[str, NDArray[np.generic]]
    others: list[str]


def read_arrays(path: Path, names: Collection[str]) -> Arrays:
    """Read some arrays of an .npz file, as `numpy.savez` and `numpy.savez_compressed` write it.

    This should be used for untrusted files. No pickle is ever loaded, and reading allocates at most
    about 128 MB and four times the size of the file.

    Args:
        path: The file.
        names: The arrays to read, where they are present.

    Raises:
        FileNotFoundError: If there is no such regular file.
        ValueError: If it is damaged, holds objects, has two members of the same name, or declares
            too much.
    """
    if not os.path.isfile(path):  # False for a name that is too long, where Path.is_file raises
        raise FileNotFoundError(f"{printable(path)}: no such file. Pass the path of an .npz file.")
    try:
        with _Guarded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            members = _members(archive)
            wanted = {name: members[f"{name}.npy"] for name in names if f"{name}.npy" in members}
            _check_total(archive, wanted, path.stat().st_size)
            arrays = {name: _array(archive, info) for name, info in wanted.items()}
    except _DAMAGED as error:
        raise _damaged(path, error) from error

    found = [name.removesuffix(".npy") for name in members]
    return Arrays(arrays, [name for name in found if name not in wanted])


class StoredMember(NamedTuple):
    """An array in an archive that is not compressed.

    Attributes:
        header: The header of the array.
        offset: Position of the first element in the file.
    """

    header: NpyHeader
    offset: int


def array_in_archive(path: Path, name: str) -> StoredMember | None:
    """Return the place of an array in an .npz file, so that it can be mapped.

    Args:
        path: The file.
        name: The array.

    Returns:
        The place; `None` if the array is compressed, in Fortran order, or not there.

    Raises:
        ValueError: If the file is damaged, or holds objects.
    """
    try:
        with _Guarded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            info = _members(archive).get(f"{name}.npy")
            if info is None or info.compress_type != zipfile.ZIP_STORED:
                return None
            _declared(archive, name, info)
            with archive.open(info) as stream:
                header = read_npy_header(stream, name)

            # The local header: 30 bytes, of which the last four are the lengths of two fields.
            file.seek(info.header_offset + 26)
            lengths = file.read(4)
    except _DAMAGED as error:
        raise _damaged(path, error) from error

    fields = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    offset = info.header_offset + 30 + fields + header.offset
    return None if header.columns_first else StoredMember(header, offset)


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{printable(path)}: load expects an .npz file of arrays of numbers; got one that is "
        f"damaged, or of another kind: {printable(error)[:_LONGEST]}. Write it with numpy.savez."
    )


class _Guarded(io.BufferedReader):
    """A file that refuses to be read in large pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            here = self.tell()
            size = self.seek(0, io.SEEK_END) - here
            self.seek(here)
        if size > LARGEST_READ:
            raise zipfile.BadZipFile(f"a part of {size:,} bytes outside its arrays")
        return super().read(size)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name; raise ValueError if two have the same name."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in members:
            raise ValueError(f"it has two members {info.filename}")
        members[info.filename] = info

        # To open it compares the name in the directory with the name beside the member.
        archive.open(info).close()
    return members


def _check_total(
    archive: zipfile.ZipFile, wanted: dict[str, zipfile.ZipInfo], file_size: int
) -> None:
    """Raise ValueError if the arrays are too large for a file of this size."""
    total = sum(_declared(archive, name, info) for name, info in wanted.items())
    limit = SPARE_BYTES + LARGEST_RATIO * file_size
    if total > limit:
        raise ValueError(
            f"its arrays declare {total:,} bytes, and a file of {file_size:,} may hold {limit:,}. "
            f"If you trust it, write it without compression"
        )


def _declared(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Return the bytes of an array using the header, which must agree with the archive."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by a method that numpy does not write")
    with archive.open(info) as stream:
        header = read_npy_header(stream, name)

    declared = math.prod(header.shape) * header.dtype.itemsize
    if header.offset + declared != info.file_size:
        raise ValueError(
            f"{name} declares shape {header.shape} of {header.dtype}, which is not the size that "
            f"follows"
        )
    return declared


class NpyHeader(NamedTuple):
    """The header of an array in the format of numpy.

    Attributes:
        shape: Shape of the array.
        dtype: Type of the elements.
        columns_first: Whether the first index varies fastest (Fortran order).
        offset: Bytes of the header, after which the elements follow.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    columns_first: bool
    offset: int


def read_npy_header(stream: IO[bytes], name: str) -> NpyHeader:
    """Read the header of an array; raise ValueError if it is damaged or declares objects.

    Args:
        stream: A file at the start of the array.
        name: The array, for the error.
    """
    header = _header(stream, name)
    shape, dtype, columns_first = _parsed(io.BytesIO(header), name)

    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, and loading data never runs code")
    if min(shape, default=0) < 0 or dtype.itemsize == 0:
        raise ValueError(f"{name} declares shape {shape} of {dtype}, which has no size")
    return NpyHeader(shape, dtype, columns_first, len(header))


def _header(stream: IO[bytes], name: str) -> bytes:
    """Return the header of an array.

    A header has six bytes of magic, two of the version, two (version 1) or four (version 2) of the
    length of the text, and the text.
    """
    start = stream.read(12)
    version = start[6:7]
    length_end = 12 if version == b"\x02" else 10
    length = int.from_bytes(start[8:length_end], "little")

    known = start[:6] == np.lib.format.MAGIC_PREFIX and version in (b"\x01", b"\x02")
    if not known or length > LARGEST_HEADER:
        raise ValueError(f"{name} is no array in the format of numpy")

    return start + stream.read(max(0, length_end + length - len(start)))


def _parsed(header: io.BytesIO, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic], bool]:
    """Return shape, dtype and order from the header of an array."""
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        major, _ = np.lib.format.read_magic(header)
        shape, columns_first, dtype = read[major](header, LARGEST_HEADER)
    except Exception as error:
        # numpy parses the header as Python, and damaged text may fail anywhere in the parser.
        raise ValueError(f"the header of {name} cannot be read") from error
    return shape, dtype, columns_first


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(info) as stream:
        array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
