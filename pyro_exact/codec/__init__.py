"""Lossless compression of images: the likelihood of a model, written to a file."""

from pyro_exact.codec.compress import compress, decompress
from pyro_exact.codec.container import DamagedFileError
from pyro_exact.codec.reading import read_images
from pyro_exact.codec.results import Coding, Decoded
from pyro_exact.codec.writing import write_images

__all__ = [
    "Coding",
    "DamagedFileError",
    "Decoded",
    "compress",
    "decompress",
    "read_images",
    "write_images",
]
