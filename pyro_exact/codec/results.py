"""Results of compression: the size of a file, and the images of a file."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pyro_exact.codec.container import DamagedFileError, Header


@dataclass(frozen=True)
class Coding:
    """The size of compressed images.

    Attributes:
        images: Count of the images.
        dims: Elements of an image.
        total_bits: Bits of the file.
        header_bits: Bits of the header and of the fields of the blocks.
        initial_bits: Bits that a stack contained before its first image, for bits-back.
        pixel_bits: Bits of each pixel, (N, H, W), if they were asked for.
    """

    images: int
    dims: int
    total_bits: int
    header_bits: int
    initial_bits: int
    pixel_bits: Tensor | None = None

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file for each element."""
        return self.total_bits / (self.images * self.dims)

    @property
    def net_bits_per_dim(self) -> float:
        """Bits of the images alone for each element, without header and initial bits."""
        net = self.total_bits - self.header_bits - self.initial_bits
        return net / (self.images * self.dims)


@dataclass(frozen=True)
class Decoded:
    """Images from a compressed file.

    Attributes:
        images: The images, uint8, (n, C, H, W).
        index: Position of each image among all images of the file, (n).
        header: The header of the file.
        faults: An error for each block that cannot be decoded.
    """

    images: Tensor
    index: Tensor
    header: Header
    faults: list[DamagedFileError]
