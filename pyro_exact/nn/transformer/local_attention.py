"""Causal attention to the block of a position and to the block before it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.nn.attend import attend


def local_attention(query: Tensor, key: Tensor, value: Tensor, block: int) -> Tensor:
    r"""Compute causal attention within blocks of positions. Use it for long sequences.

    Positions 0, 1, ... are cut into blocks. A position t in block b sees the positions
    :math:`(b - 1)\, \mathrm{block} \le s \le t`: the whole block before, and the same block up to
    t. With a single block this is dense causal attention. The cost grows with length x block, and
    only a single mask of (block, 2 block) is required in memory.

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
    heads, length = query.shape[1:3]
    if length <= block:
        return attend(query, key, value, causal=True)

    # The first block sees itself alone, each later block sees the keys of two blocks.
    first = attend(query[:, :, :block], key[:, :, :block], value[:, :, :block], causal=True)

    query = _in_blocks(query, block)
    query = query[:, :, 1:].flatten(1, 2)
    key = _with_block_before(_in_blocks(key, block))
    value = _with_block_before(_in_blocks(value, block))

    mask = block_mask(block, query.device)
    later = attend(query, key, value, mask=mask)

    later = later.unflatten(1, (heads, -1)).flatten(2, 3)
    attended = torch.cat((first, later), dim=2)

    return attended[:, :, :length]


def _in_blocks(x: Tensor, block: int) -> Tensor:
    """Return (N, heads, blocks, block, d), with zeros at the end of the last block."""
    # No position sees these zeros, because they come after all positions.
    missing = -x.shape[2] % block
    padded = F.pad(x, (0, 0, 0, missing))
    return padded.unflatten(2, (-1, block))


def _with_block_before(x: Tensor) -> Tensor:
    """Return each block after the block before, (N, heads * (blocks - 1), 2 block, d)."""
    before = x[:, :, :-1]
    own = x[:, :, 1:]
    pairs = torch.cat((before, own), dim=3)

    return pairs.flatten(1, 2)


def block_mask(block: int, device: torch.device) -> Tensor:
    """Return which keys of the block before and of the same block are used, (block, 2 block)."""
    before = torch.ones(block, block, dtype=torch.bool, device=device)
    own = before.tril()
    return torch.cat((before, own), dim=-1)
