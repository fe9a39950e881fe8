"""A checksum at the end of a checkpoint: whatever happened to the file is seen before anything in it is read."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

MARK = b"pyro_exact sha256 "
LENGTH = len(MARK) + 64
_PIECE = 2**20


class DamagedError(ValueError):
    """A checkpoint is not as it was written."""


def write_checksum(path: Path) -> None:
    """Append the checksum of a zip archive to it, as its comment, which every reader of such archives passes over."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(
            struct.pack("<H", LENGTH)
        )  # the length of the comment is the last thing before it
        size = file.tell()
        file.write(MARK + _checksum(file, size))


def verify_checksum(file: BinaryIO) -> None:
    """Raise DamagedError if a file has no checksum, or another one than it should."""
    size = file.seek(0, os.SEEK_END) - LENGTH
    file.seek(max(size, 0))
    mark, expected = file.read(len(MARK)), file.read()

    if mark != MARK:
        raise DamagedError(
            "it ends without a checksum, so it is truncated, of an older version, or no checkpoint"
        )
    if _checksum(file, size) != expected:
        raise DamagedError("it is damaged, for its contents do not fit its checksum")


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Return the SHA-256 of the first bytes of a file in hexadecimal digits; leave the file at their end."""
    found, left = hashlib.sha256(), size
    file.seek(0)
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        found.update(piece)
        left -= len(piece)
    return found.hexdigest().encode()
