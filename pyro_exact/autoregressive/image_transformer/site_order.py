"""The order of the sites of an image: pixel by pixel, or block by block."""

from __future__ import annotations

import torch
from torch import Tensor


def site_order(channels: int, height: int, width: int, block_shape: tuple[int, int]) -> Tensor:
    """Return the order of sites in an image of rectangular blocks of pixels.

    The blocks come row by row, the pixels of a block row by row, and the channels of a pixel in
    sequence. A block of the size of the image gives the usual order.

    Args:
        channels: Channels of a pixel, each a site.
        height: Height of the image, a multiple of that of a block.
        width: Width of the image, a multiple of that of a block.
        block_shape: Height and width of a block.

    Returns:
        The indices of the sites in an image (channels, height, width), (sites).

    Reference:
        Parmar et al. (2018), Image Transformer, section 3.3 and figure 2 (2D Local Attention).
    """
    rows, columns = block_shape
    sites = torch.arange(channels * height * width).view(channels, height, width)

    # (channels, block rows, rows, block columns, columns): blocks outermost, channels innermost.
    blocks = sites.unflatten(2, (-1, columns))
    blocks = blocks.unflatten(1, (-1, rows))
    return blocks.permute(1, 3, 2, 4, 0).flatten()
