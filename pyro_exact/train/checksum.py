"""A checksum at the end of a checkpoint, which finds damage before anything in the file is read."""

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
    """A checkpoint differs from the file that was written."""


def write_checksum(path: Path) -> None:
    """Append a checksum to a zip archive via the comment of the archive, which zip readers skip."""
    with path.open("r+b") as file:
        # The last field of an archive is the length of the comment, in two bytes.
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", LENGTH))

        size = file.tell()
        file.write(MARK + _checksum(file, size))


def verify_checksum(file: BinaryIO) -> None:
    """Raise DamagedError if a file has no checksum, or the checksum does not match the contents."""
    size = file.seek(0, os.SEEK_END) - LENGTH
    file.seek(max(size, 0))
    mark, expected = file.read(len(MARK)), file.read()

    if mark != MARK:
        raise DamagedError(
            "it ends without a checksum, so it is truncated, of an older version, or no checkpoint"
        )
    if _checksum(file, size) != expected:
        raise DamagedError("it is damaged, because its contents do not fit its checksum")


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the first bytes of a file, and stop at the last."""
    digest, left = hashlib.sha256(), size
    file.seek(0)
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest().encode()
