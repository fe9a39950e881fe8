"""The block of a causal transformer: attention, then a network for each position."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.nn.attend import attend
from pyro_exact.nn.dropout import Dropout
from pyro_exact.nn.transformer.local_attention import local_attention
from pyro_exact.nn.transformer.ring import Ring, Slot, capacity

Norm = Literal["pre", "post"]
Activation = Literal["gelu", "relu"]


class CausalAttention(nn.Module):
    """Multi-head causal self-attention within blocks of positions; see `local_attention`.

    Args:
        width: Channels of input and output.
        heads: Attention heads.
        head_dim: Channels of the query, the key and the value of each head.
        block: Positions of a block.
        bias: If true, the four projections use biases.

    Shape:
        - x, y: (N, positions, width).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_dim: int,
        block: int,
        bias: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.block = block

        inner = heads * head_dim
        self.project = nn.Linear(width, 3 * inner, bias)
        self.merge = nn.Linear(inner, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of all positions."""
        query, key, value = self._projected(x)
        attended = local_attention(query, key, value, self.block)
        return self._merged(attended)

    def start(self, batch: int, length: int) -> Ring:
        """Return an empty buffer for a batch of sequences."""
        slots = capacity(length, self.block)
        shape = batch, self.heads, slots, self.head_dim

        keys = self.project.weight.new_zeros(shape)

        return Ring(keys, torch.zeros_like(keys))

    def step(self, ring: Ring, place: Slot, x: Tensor) -> tuple[Tensor, Ring]:
        """Return the attention of the next position, (N, 1, width), and the new buffer."""
        query, key, value = self._projected(x)
        ring = ring.put(place.slot, key, value)

        visible = place.visible.unsqueeze(0)
        attended = attend(query, ring.keys, ring.values, mask=visible)

        return self._merged(attended), ring

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the query, the key and the value, (N, heads, positions, head_dim) each."""
        parts = self.project(x)
        parts = parts.unflatten(-1, (3, self.heads, self.head_dim))

        query, key, value = parts.transpose(1, 3).unbind(2)

        return query, key, value

    def _merged(self, attended: Tensor) -> Tensor:
        heads = attended.transpose(1, 2).flatten(-2)
        merged: Tensor = self.merge(heads)
        return merged


class TransformerBlock(nn.Module):
    r"""Attention and a network for each position, each with a residual connection and a norm.

    .. math::
        h = x + V c, \qquad
        h' = h + \mathrm{attention}(\mathrm{norm}(h)), \qquad
        y = h' + W_2\, \phi(W_1\, \mathrm{norm}(h'))

    When using ``norm="post"``, each norm follows the sum instead.

    Args:
        width: Channels of input and output.
        heads: Attention heads.
        head_dim: Channels of each head.
        dense_width: Channels between the two layers of the network for each position.
        block: See `CausalAttention`.
        norm: The type of the norms: ``"pre"`` (default) or ``"post"``.
        activation: The function :math:`\phi`.
        bias: If true, the projections of the attention use biases.
        dropout: Share of the elements that are dropped in training, before each sum.
        context_dim: Size of an optional context vector c.

    Shape:
        - x, y: (N, positions, width); context: (N, context_dim).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_dim: int,
        dense_width: int,
        block: int,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.activation = activation
        self.attention = CausalAttention(width, heads, head_dim, block, bias)
        self.attention_norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, dense_width)
        self.last = nn.Linear(dense_width, width)
        self.dense_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.context: nn.Linear | None = None
        if context_dim is not None:
            self.context = nn.Linear(context_dim, width, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the output of all positions."""
        h = self._with_context(x, context)

        # h' = h + attention(norm(h))
        branch = self._before(h, self.attention_norm)
        branch = self.attention(branch)
        h = h + self.dropout(branch)
        h = self._after(h, self.attention_norm)

        # y = h' + W_2 phi(W_1 norm(h'))
        branch = self._before(h, self.dense_norm)
        branch = self._dense(branch)
        h = h + self.dropout(branch)

        return self._after(h, self.dense_norm)

    def step(
        self, ring: Ring, place: Slot, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Ring]:
        """Return the output of the next position, (N, 1, width), and the new buffer.

        Steps do not use dropout.
        """
        h = self._with_context(x, context)

        # h' = h + attention(norm(h))
        branch = self._before(h, self.attention_norm)
        branch, ring = self.attention.step(ring, place, branch)
        h = self._after(h + branch, self.attention_norm)

        # y = h' + W_2 phi(W_1 norm(h'))
        branch = self._before(h, self.dense_norm)
        branch = self._dense(branch)
        h = self._after(h + branch, self.dense_norm)

        return h, ring

    def _with_context(self, x: Tensor, context: Tensor | None) -> Tensor:
        if self.context is None or context is None:
            return x

        added = self.context(context)
        return x + added.unsqueeze(1)

    def _before(self, h: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Return the input of a residual branch."""
        return norm(h) if self.norm == "pre" else h

    def _after(self, total: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Return the sum of a residual connection, with the norm if norms follow the sums."""
        return total if self.norm == "pre" else norm(total)

    def _dense(self, h: Tensor) -> Tensor:
        activate = F.gelu if self.activation == "gelu" else F.relu
        h = activate(self.first(h))
        output: Tensor = self.last(h)
        return output
