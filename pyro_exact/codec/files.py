"""Compress images into a file by a model, and decompress them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_exact.checks import check_tensor
from pyro_exact.codec.container import (
    Block,
    DamagedFileError,
    Header,
    check_end,
    read_blocks,
    read_header,
    write_block,
    write_end,
    write_header,
)
from pyro_exact.codec.fingerprint import (
    check_system,
    check_weights_of,
    fingerprint,
    hash_weights,
    same_computation,
)
from pyro_exact.codec.methods import Method, checked_block_size, method_of
from pyro_exact.models.generative_model import GenerativeModel, evaluating
from pyro_exact.nn.finite import check_weights_for
from pyro_exact.nn.precision import weight_of


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


def compress(
    model: GenerativeModel,
    images: Tensor,
    labels: Tensor | None = None,
    block_size: int | None = None,
) -> bytes:
    """Compress images without loss, to about -log2 p(x) bits each.

    Autoregressive networks and integer flows are coded by their probabilities, models with latents
    by bits-back coding. The result can be decoded by the same weights on the same device with the
    same libraries; it contains their hash and names, and checksums.

    Args:
        model: The model.
        images: Integers of shape (N, C, H, W).
        labels: The class of each image, (N), for a class-conditional model.
        block_size: Images that are coded together, and lost together if the file is damaged; the
            default is 64, or 1,000 for a model with latents.

    Raises:
        ModuleNotFoundError: If the package ``constriction`` is not installed.
        TypeError: If there is no code for the model.
        ValueError: If the model cannot score these images, or the labels do not fit.

    Example:
        >>> from pyro_exact.autoregressive import NADE, Autoregressive
        >>> from pyro_exact.models import Density
        >>> model = Density(Autoregressive(NADE((1, 4, 4), width=8)))
        >>> images = torch.randint(2, (5, 1, 4, 4), dtype=torch.uint8)
        >>> torch.equal(decompress(model, compress(model, images)), images)
        True
    """
    file = io.BytesIO()
    write_images(model, images, file, labels, block_size)
    return file.getvalue()


def decompress(model: GenerativeModel, data: bytes) -> Tensor:
    """Decompress the images that `compress` returned, uint8 of shape (N, C, H, W).

    Args:
        model: The same model.
        data: The compressed images.

    Raises:
        DamagedFileError: If the weights, the device or a library differ, or a block is damaged; the
            message names it.
    """
    return read_images(model, data).images


def write_images(
    model: GenerativeModel,
    images: Tensor,
    file: BinaryIO,
    labels: Tensor | None = None,
    block_size: int | None = None,
    about: Mapping[str, str] | None = None,
    pixel_bits: bool = False,
    progress: bool = False,
) -> Coding:
    """Compress images into a file, block by block; see `compress`.

    Args:
        model: The model.
        images: Integers of shape (N, C, H, W).
        file: The file, which is written from its start to its end.
        labels: As in `compress`.
        block_size: As in `compress`.
        about: Remarks for the header, for example the recipe.
        pixel_bits: If true, return the bits of each pixel, for an autoregressive model.
        progress: If true, show a progress bar if this takes more than a second.
    """
    method = method_of(model)
    size = checked_block_size(method, block_size)
    shape = _check_images(model, images, labels)
    check_weights_for("compress", model)

    threads = torch.get_num_threads()
    with evaluating(model), same_computation(threads):
        header = Header(
            shape=shape,
            images=len(images),
            block_size=size,
            weights=hash_weights(model),
            threads=threads,
            system=fingerprint(model),
            about=about or {},
        )
        write_header(file, header)
        bits, contents = [], 0
        bar = tqdm(range(header.blocks), disable=not progress, delay=1, leave=False)
        for index in bar:
            rows = list(header.positions(index))
            part = images[rows].to(weight_of(model).device)
            some = None if labels is None else labels[rows]
            sites = method.empty_bits(len(part)) if pixel_bits else None

            words = method.encode(part, some, sites)
            block = Block(index, words.astype("<u4").tobytes(), _crc(part))
            write_block(file, block)

            contents += 8 * len(block.contents)
            if sites is not None:
                bits.append(sites.view(len(part), -1, *shape[1:]).sum(1))
        write_end(file, header)

    total = 8 * file.tell()
    by_pixel = torch.cat(bits) if bits else None
    return Coding(len(images), prod(shape), total, total - contents, method.initial_bits, by_pixel)


def read_images(
    model: GenerativeModel,
    data: bytes,
    keep_going: bool = False,
    progress: bool = False,
) -> Decoded:
    """Decompress images, and compare each block with its checksums; see `decompress`.

    Args:
        model: The model that compressed the images.
        data: The file.
        keep_going: If true, decode what is whole, also on another device or with other libraries,
            and return an error for each other block.
        progress: If true, show a progress bar if this takes more than a second.

    Raises:
        DamagedFileError: As `decompress`; with ``keep_going`` only if the header is damaged or the
            weights differ.
    """
    header, first = read_header(data)
    method = method_of(model)
    if tuple(model.event_shape or ()) != header.shape:
        raise DamagedFileError(
            f"A compressed file of images of shape {header.shape} expects a model of them; got one "
            f"of {tuple(model.event_shape or ())}. Use the same checkpoint (--checkpoint)."
        )
    check_weights_of(model, header)

    faults: list[DamagedFileError] = []
    parts: dict[int, Tensor] = {}
    with evaluating(model), same_computation(header.threads):
        _collect(lambda: check_system(fingerprint(model), header), faults, keep_going)
        _collect(lambda: check_end(data, header), faults, keep_going)

        blocks = read_blocks(data, first, header)
        bar = tqdm(blocks, total=header.blocks, disable=not progress, delay=1, leave=False)
        for block in bar:
            try:
                if isinstance(block, DamagedFileError):
                    raise block
                parts[block.index] = _decoded(method, block, header)
            except DamagedFileError as error:
                if not keep_going:
                    raise
                faults.append(error)
    return _joined(parts, header, faults)


def _decoded(method: Method, block: Block, header: Header) -> Tensor:
    """Return the images of a block, or raise DamagedFileError if they are not those coded."""
    words = np.frombuffer(block.contents[: len(block.contents) // 4 * 4], dtype="<u4")
    reason = "the images do not fit their checksum"
    try:
        images = method.decode(words.astype(np.uint32), len(header.positions(block.index)))
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    else:
        if _crc(images) == block.pixels:
            return images.to("cpu", torch.uint8)

    raise DamagedFileError(
        f"Block {block.index} of {header.blocks} (counted from 0) cannot be decoded, because "
        f"{reason}. Decode the file where it was coded, or decode the other blocks with keep_going "
        "(--keep-going)."
    )


def _collect(
    check: Callable[[], None],
    faults: list[DamagedFileError],
    keep_going: bool,
) -> None:
    """Run a check; with ``keep_going``, add the error to a list."""
    try:
        check()
    except DamagedFileError as error:
        if not keep_going:
            raise
        faults.append(error)


def _joined(
    parts: Mapping[int, Tensor],
    header: Header,
    faults: list[DamagedFileError],
) -> Decoded:
    """Return the images of all blocks that were decoded."""
    index = [position for block in parts for position in header.positions(block)]
    images = torch.empty(0, *header.shape, dtype=torch.uint8)
    if parts:
        images = torch.cat(list(parts.values()))
    return Decoded(images, torch.tensor(index, dtype=torch.long), header, faults)


def _check_images(
    model: GenerativeModel,
    images: Tensor,
    labels: Tensor | None,
) -> tuple[int, int, int]:
    """Return the shape of an image, or raise an error if a model cannot code the images."""
    model.check(check_tensor("compress", "images", images))
    if images.dim() != 4 or images.min() < 0 or images.max() > 255:
        raise ValueError(
            f"compress expects images of shape (N, C, H, W) with at most 256 levels; got shape "
            f"{tuple(images.shape)} and values from {images.min():g} to {images.max():g}. Reshape "
            "them."
        )

    if (model.classes is None) != (labels is None):
        expected = "no labels" if model.classes is None else f"labels of {model.classes} classes"
        raise ValueError(
            f"compress expects {expected} for this model; got "
            f"{'none' if labels is None else 'labels'}. Pass what the model needs."
        )
    if labels is not None and tuple(labels.shape) != (len(images),):
        raise ValueError(
            f"compress expects labels of shape ({len(images)},), one for each image; got "
            f"{tuple(labels.shape)}. Pass the labels of these images."
        )

    _, channels, height, width = images.shape
    return channels, height, width


def _crc(images: Tensor) -> int:
    """Return the CRC of pixels."""
    return zlib.crc32(images.to("cpu", torch.uint8).contiguous().numpy().tobytes())
