"""Lossless compression of images: the likelihood of a model, written to a file."""

from pyro_exact.codec.container import DamagedFileError
from pyro_exact.codec.files import (
    Coding,
    Decoded,
    compress,
    decompress,
    read_images,
    write_images,
)

__all__ = [
    "Coding",
    "DamagedFileError",
    "Decoded",
    "compress",
    "decompress",
    "read_images",
    "write_images",
]
