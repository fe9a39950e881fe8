"""Arrays of an .npz file from elsewhere: the sizes that it declares are checked before any array is read."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyro_exact.checks import printable

LARGEST_HEADER = (
    10_000  # bytes of the text that says which array follows; the limit that numpy has for it
)
LARGEST_READ = (
    2**22
)  # bytes at once; it bounds the directory of an archive, which may declare any size

# Arrays may take this much more than their file, and this many times as much: compressed images do,
# a bomb does not.
SPARE_BYTES = 2**27
LARGEST_RATIO = 4

_LONGEST = (
    160  # characters of an error of numpy or zipfile, which may quote the bytes that it found
)

# Errors of numpy and zipfile on bytes that are not, or are no longer, an archive of plain arrays.
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
        arrays: Those that were asked for, by name.
        others: Names of the other members.
    """

    arrays: dict[str, NDArray[np.generic]]
    others: list[str]


def read_arrays(path: Path, names: Collection[str]) -> Arrays:
    """Read some arrays of an .npz file, as `numpy.savez` and `numpy.savez_compressed` write it.

    Use it for files that nobody vouches for. No pickle is ever loaded, and a file cannot make it
    allocate much more than 128 MB and four times its own size.

    Args:
        path: The file.
        names: The arrays to read, where the file has them.

    Raises:
        FileNotFoundError: If there is no such regular file.
        ValueError: If it is damaged, holds objects, has two members of one name, or declares too
            much.
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
        raise ValueError(
            f"{printable(path)}: load expects an .npz file of arrays of numbers; got one that is damaged, or of "
            f"another kind: {printable(error)[:_LONGEST]}. Write it with numpy.savez."
        ) from error
    others = [
        name.removesuffix(".npy") for name in members if name.removesuffix(".npy") not in wanted
    ]
    return Arrays(arrays, others)


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
    """Return the members by name, which is the same in both places that hold it; two of one name hide each other."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in members:
            raise ValueError(f"it has two members {info.filename}")
        members[info.filename] = info
        archive.open(
            info
        ).close()  # it compares the name in the directory with the name beside the member
    return members


def _check_total(
    archive: zipfile.ZipFile, wanted: dict[str, zipfile.ZipInfo], file_size: int
) -> None:
    """Say so if the arrays are larger than a file of this size can mean."""
    total = sum(_declared(archive, name, info) for name, info in wanted.items())
    limit = SPARE_BYTES + LARGEST_RATIO * file_size
    if total > limit:
        raise ValueError(
            f"its arrays declare {total:,} bytes, and a file of {file_size:,} may hold {limit:,}. If you trust it, "
            f"write it without compression"
        )


def _declared(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Return the bytes of an array from its header, which must agree with the archive."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by a method that numpy does not write")
    with archive.open(info) as stream:
        start = stream.read(12)
        version, wide = start[6:7], start[6:7] == b"\x02"
        length = int.from_bytes(start[8 : 12 if wide else 10], "little")
        if (
            start[:6] != np.lib.format.MAGIC_PREFIX
            or version not in (b"\x01", b"\x02")
            or length > LARGEST_HEADER
        ):
            raise ValueError(f"{name} is no array in the format of numpy")
        header_size = (12 if wide else 10) + length
        header = io.BytesIO(start + stream.read(max(0, header_size - len(start))))

    shape, dtype = _parsed(header, name)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, and loading data never runs code")
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or header_size + declared != info.file_size or dtype.itemsize == 0:
        raise ValueError(
            f"{name} declares shape {shape} of {dtype}, which is not the size that follows"
        )
    return declared


def _parsed(header: io.BytesIO, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Return shape and dtype from the header of an array."""
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    try:
        major, _ = np.lib.format.read_magic(header)
        shape, _, dtype = read[major](header, LARGEST_HEADER)
    except (
        Exception
    ) as error:  # numpy reads the header as Python, and such a text fails anywhere in the parser
        raise ValueError(f"the header of {name} cannot be read") from error
    return shape, dtype


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(info) as stream:
        array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
