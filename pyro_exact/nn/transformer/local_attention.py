"""Causal attention to the block of a position and to the block before it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.nn.attend import attend


def local_attention(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    r"""Compute causal attention within blocks of positions.

    Positions 0, 1, ... are cut into blocks. A position t in block b sees the positions
    :math:`(b - 1)\, \mathrm{block} \le s \le t`: the whole block before its own, and its own block
    up to itself. With a single block this is dense causal attention. The cost grows with
    length x block, and no more than one mask of (block, 2 block) is in memory.

    Args:
        query: (N, heads, length, d).
        key: (N, heads, length, d).
        value: (N, heads, length, d).
        block: Positions of a block; the last block may be incomplete.

    Returns:
        The attention, (N, heads, length, d).

    Reference:
        Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku and Tran (2018), Image Transformer,
        section 3.3 (1D Local Attention).
    """
    length = query.shape[-2]
    heads = query.shape[1]
    first = attend(query[:, :, :block], key[:, :, :block], value[:, :, :block], causal=True)
    if length <= block:
        return first

    # Each block after the first one, with the keys of two blocks.
    queries = _blocks(query, block)[:, :, 1:].flatten(1, 2)
    keys, values = _pairs(key, block), _pairs(value, block)
    later = attend(queries, keys, values, mask=block_mask(block, query.device))

    later = later.unflatten(1, (heads, -1)).flatten(2, 3)
    return torch.cat((first, later[:, :, : length - block]), dim=2)


def _blocks(x: Tensor, block: int) -> Tensor:
    """Return (N, heads, blocks, block, d), where zeros fill the last block: no real position sees them."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % block)).unflatten(2, (-1, block))


def _pairs(x: Tensor, block: int) -> Tensor:
    """Return each block after the first one behind the block before it, (N, heads * pairs, 2 block, d)."""
    blocks = _blocks(x, block)
    return torch.cat((blocks[:, :, :-1], blocks[:, :, 1:]), dim=3).flatten(1, 2)


def block_mask(block: int, device: torch.device) -> Tensor:
    """Return which keys of the block before and of its own block a position sees, (block, 2 block)."""
    before = torch.ones(block, block, dtype=torch.bool, device=device)
    return torch.cat((before, before.tril()), dim=-1)
