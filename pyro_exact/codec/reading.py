"""Decompress the images of a file, and compare each block with its checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_exact.codec.container import (
    Block,
    DamagedFileError,
    Header,
    check_end,
    crc_of,
    read_blocks,
    read_header,
)
from pyro_exact.codec.fingerprint import (
    check_system,
    check_weights_of,
    fingerprint,
    same_computation,
)
from pyro_exact.codec.methods import Method, method_of
from pyro_exact.codec.results import Decoded
from pyro_exact.models.generative_model import GenerativeModel, evaluating


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
        if crc_of(images) == block.pixels:
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
