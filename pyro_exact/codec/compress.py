"""Compress images by a model, and decompress them."""

from __future__ import annotations

import io

from torch import Tensor

from pyro_exact.codec.reading import read_images
from pyro_exact.codec.writing import write_images
from pyro_exact.models.generative_model import GenerativeModel


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
        images: Integers of shape (N, C, H, W), or other data with levels, (N, *event_shape).
        labels: The class of each image, (N), for a class-conditional model.
        block_size: Images that are coded together, and lost together if the file is damaged; the
            default is 64, or 1,000 for a model with latents.

    Raises:
        ModuleNotFoundError: If the package ``constriction`` is not installed.
        TypeError: If there is no code for the model.
        ValueError: If the model cannot score these images, or the labels do not fit.

    Example:
        >>> import torch
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
