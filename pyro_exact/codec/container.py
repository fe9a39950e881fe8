"""The format of compressed files: a header, blocks with checksums, and an end.

=========  ==================================================================================
part       contents, integers in little endian
=========  ==================================================================================
file       magic number (8 bytes), version (u16), size of the header (u32), header (JSON), CRC
block      ``PXBK``, index (u32), size (u32), CRC of the contents (u32), CRC of the pixels (u32),
           CRC of these fields (u32), contents
end        ``PXED``, blocks (u32), images (u32), CRC of these fields (u32)
=========  ==================================================================================

The CRC is CRC-32. A block starts with a marker and a CRC of its own fields, so that a reader finds
the next block after a damaged one.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pyro_exact.checks import printable

MAGIC = b"\x89PYX\r\n\x1a\n"
VERSION = 1
BLOCK, END = b"PXBK", b"PXED"

_START = struct.Struct("<8sHI")
_BLOCK = struct.Struct("<4sIIII")
_END = struct.Struct("<4sII")
_CRC = struct.Struct("<I")

LARGEST_HEADER = 2**20
LARGEST_BLOCK = 2**30
MOST_IMAGES = 2**31
MOST_DIMS = 8


class DamagedFileError(ValueError):
    """A compressed file, or a block of it, cannot be decoded."""


@dataclass(frozen=True)
class Header:
    """Everything that a decoder must know before the first block.

    Attributes:
        shape: Shape of an image, (C, H, W), or of another datum.
        images: Count of the images.
        block_size: Images of each block but the last, which may have fewer.
        weights: SHA-256 of the weights.
        threads: Threads that the encoder used.
        system: Device and versions of the encoder; see `fingerprint`.
        about: Remarks, for example the recipe and the checkpoint.
    """

    shape: tuple[int, ...]
    images: int
    block_size: int
    weights: str
    threads: int
    system: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """Count of the blocks."""
        return -(-self.images // self.block_size)

    def positions(self, block: int) -> range:
        """Return the positions of the images of a block."""
        first = block * self.block_size
        return range(first, min(first + self.block_size, self.images))


@dataclass(frozen=True)
class Block:
    """A block of a file.

    Attributes:
        index: Position among all blocks.
        contents: The coded images.
        pixels: CRC of the pixels.
    """

    index: int
    contents: bytes
    pixels: int


# Write
# --------------------------------------------------------------------------------------------------


def write_header(file: BinaryIO, header: Header) -> None:
    """Write the start of a file."""
    text = json.dumps(asdict(header)).encode()
    _write(file, _START.pack(MAGIC, VERSION, len(text)) + text)


def write_block(file: BinaryIO, block: Block) -> None:
    """Write a block."""
    fields = _BLOCK.pack(
        BLOCK,
        block.index,
        len(block.contents),
        zlib.crc32(block.contents),
        block.pixels,
    )
    _write(file, fields)
    file.write(block.contents)


def write_end(file: BinaryIO, header: Header) -> None:
    """Write the end of a file."""
    _write(file, _END.pack(END, header.blocks, header.images))


def crc_of(images: Tensor) -> int:
    """Return the CRC of pixels."""
    return zlib.crc32(images.to("cpu", torch.uint8).contiguous().numpy().tobytes())


def _write(file: BinaryIO, fields: bytes) -> None:
    """Write fields and their CRC."""
    file.write(fields + _CRC.pack(zlib.crc32(fields)))


# Read
# --------------------------------------------------------------------------------------------------


def read_header(data: bytes) -> tuple[Header, int]:
    """Return the header of a file, and the position of the first block.

    Raises:
        DamagedFileError: If it is no compressed file, of another version, or damaged.
    """
    if len(data) < _START.size or data[:8] != MAGIC:
        raise DamagedFileError(
            "A compressed file expects the magic number of this format; got other bytes. Choose a "
            "file that `pyro-exact compress` wrote."
        )
    _, version, size = _START.unpack_from(data)
    if version != VERSION:
        raise DamagedFileError(
            f"A compressed file expects version {VERSION}; got {version}. Use the version of "
            "pyro_exact that wrote it."
        )

    end = _START.size + size
    fields = data[:end]
    if size > LARGEST_HEADER or not _has_crc(data, fields):
        raise DamagedFileError(
            "A compressed file expects a header that matches the checksum; got a damaged header. "
            "Use another copy of the file."
        )
    return _parsed(fields[_START.size :]), end + _CRC.size


def read_blocks(data: bytes, first: int, header: Header) -> Iterator[Block | DamagedFileError]:
    """Yield the blocks of a file, and an error for each block that is damaged or missing.

    Args:
        data: The file.
        first: Position of the first block.
        header: The header.
    """
    expected, position, whole = 0, first, first
    while (position := data.find(BLOCK, position)) >= 0:
        fields = data[position : position + _BLOCK.size]
        start = position + _BLOCK.size + _CRC.size
        valid = _has_crc(data[position:start], fields)

        _, index, size, checksum, pixels = _BLOCK.unpack(fields) if valid else (b"", 0, 0, 0, 0)
        if not valid or not expected <= index < header.blocks:
            position += 1
            continue

        for missing in range(expected, index):
            yield _damaged(missing, header, "its fields are damaged or missing")
        if position > whole and expected == index:
            yield _stray(whole, position)
        expected = index + 1

        contents = data[start : start + size]
        if len(contents) == size and zlib.crc32(contents) == checksum:
            yield Block(index, contents, pixels)
            position = whole = start + size
        else:
            reason = "it is truncated" if len(contents) < size else "its checksum does not fit"
            yield _damaged(index, header, reason)
            position, whole = start, start + size

    for missing in range(expected, header.blocks):
        yield _damaged(missing, header, "it is missing")
    last = len(data) - _END.size - _CRC.size
    if expected == header.blocks and whole < last:
        yield _stray(whole, last)


def check_end(data: bytes, header: Header) -> None:
    """Raise DamagedFileError unless a file ends as it was written."""
    fields = _END.pack(END, header.blocks, header.images)
    if not data.endswith(fields + _CRC.pack(zlib.crc32(fields))):
        raise DamagedFileError(
            "A compressed file expects an end record after the last block; got other bytes. The "
            "file is truncated or has been changed: use another copy, or decode the undamaged "
            "blocks with keep_going (--keep-going)."
        )


def _has_crc(data: bytes, fields: bytes) -> bool:
    """Return whether fields at the start of data are followed by their CRC."""
    stored = data[len(fields) : len(fields) + _CRC.size]
    return stored == _CRC.pack(zlib.crc32(fields))


def _damaged(index: int, header: Header, reason: str) -> DamagedFileError:
    return DamagedFileError(
        f"Block {index} of {header.blocks} (counted from 0) cannot be decoded, because {reason}. "
        "Use another copy of the file, or decode the other blocks with keep_going (--keep-going)."
    )


def _stray(first: int, last: int) -> DamagedFileError:
    return DamagedFileError(
        f"A compressed file expects blocks without gaps; got other bytes between {first} and "
        f"{last}. The file has been changed: use another copy, or decode the undamaged blocks "
        "with keep_going (--keep-going)."
    )


def _parsed(text: bytes) -> Header:
    """Return a header from JSON, with every field checked."""
    try:
        values: Any = json.loads(text)
        header = Header(**values)
    except (ValueError, TypeError, RecursionError) as error:
        raise _wrong("its fields") from error

    counts = (header.images, header.block_size, header.threads)
    if not all(_is_count(count) for count in counts):
        raise _wrong("its counts")
    if not isinstance(header.shape, list) or not 0 < len(header.shape) <= MOST_DIMS:
        raise _wrong("its shape")
    if not all(_is_count(size) for size in header.shape):
        raise _wrong("its shape")

    for texts in (header.system, header.about):
        if not isinstance(texts, dict) or not all(isinstance(t, str) for t in texts.values()):
            raise _wrong("its remarks")
    if not isinstance(header.weights, str):
        raise _wrong("its hash of the weights")
    return Header(**values | {"shape": tuple(header.shape)})


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < MOST_IMAGES


def _wrong(part: str) -> DamagedFileError:
    return DamagedFileError(
        f"A compressed file expects a header as `compress` writes it; got another in {part}. "
        f"Use a file of {printable('pyro-exact compress')}."
    )
