"""Compress images into a file, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import BinaryIO

import torch
from torch import Tensor
from tqdm import tqdm

from pyro_exact.checks import check_tensor
from pyro_exact.codec.container import (
    Block,
    Header,
    crc_of,
    write_block,
    write_end,
    write_header,
)
from pyro_exact.codec.fingerprint import fingerprint, hash_weights, same_computation
from pyro_exact.codec.methods import checked_block_size, method_of
from pyro_exact.codec.results import Coding
from pyro_exact.models.generative_model import GenerativeModel, evaluating
from pyro_exact.nn.finite import check_weights_for
from pyro_exact.nn.precision import weight_of


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
        images: Integers of shape (N, C, H, W), or other data with levels, (N, *event_shape).
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
    if pixel_bits and len(shape) != 3:
        raise ValueError(
            f"A map of bits expects images of shape (C, H, W); got data of shape {shape}. Leave "
            "the map out."
        )
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
            block = Block(index, words.astype("<u4").tobytes(), crc_of(part))
            write_block(file, block)

            contents += 8 * len(block.contents)
            if sites is not None:
                bits.append(sites.view(len(part), -1, *shape[-2:]).sum(1))
        write_end(file, header)

    total = 8 * file.tell()
    by_pixel = torch.cat(bits) if bits else None
    return Coding(len(images), prod(shape), total, total - contents, method.initial_bits, by_pixel)


def _check_images(
    model: GenerativeModel,
    images: Tensor,
    labels: Tensor | None,
) -> tuple[int, ...]:
    """Return the shape of an image, or raise an error if a model cannot code the images."""
    model.check(check_tensor("compress", "images", images))
    lowest, highest = images.min().item(), images.max().item()
    if lowest < 0 or highest > 255 or (images != images.long()).any():
        raise ValueError(
            f"compress expects integers of at most 256 levels; got values from {lowest:g} to "
            f"{highest:g}. Use data with levels."
        )

    if (model.classes is None) != (labels is None):
        expected = "no labels" if model.classes is None else f"labels of {model.classes} classes"
        raise ValueError(
            f"compress expects {expected} for this model; got "
            f"{'none' if labels is None else 'labels'}. Pass labels if and only if the model has "
            f"classes."
        )
    if labels is not None and tuple(labels.shape) != (len(images),):
        raise ValueError(
            f"compress expects labels of shape ({len(images)},), one for each image; got "
            f"{tuple(labels.shape)}. Pass the labels of these images."
        )

    return tuple(images.shape[1:])
