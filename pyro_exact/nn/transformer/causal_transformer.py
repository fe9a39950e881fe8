"""A transformer whose output at a position is a function of the inputs up to that position."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_shape,
    check_share,
    check_size,
)
from pyro_exact.nn.dropout import Dropout
from pyro_exact.nn.transformer.block import Activation, Norm, TransformerBlock
from pyro_exact.nn.transformer.positions import Kind, Positions
from pyro_exact.nn.transformer.ring import Ring, following, slot_of


class TransformerState(NamedTuple):
    """The state of the steps of a `CausalTransformer`.

    Attributes:
        position: The next position, (1).
        features: Vectors that are added to the input of each position, (positions, width).
        rings: The keys and the values of each block.
        context: The context of each sequence, (N, context_dim).
    """

    position: Tensor
    features: Tensor
    rings: tuple[Ring, ...]
    context: Tensor | None


class CausalTransformer(nn.Module):
    r"""A causal transformer over a sequence of vectors. Use it within an autoregressive network.

    .. math:: y_t = g(x_{\max(0, (b - 1) m)}, \dots, x_t, \mathrm{context})

    where m is the size of a block and position t lies in block b, counted from 0: a layer sees that
    block up to t, and the block before. By default all positions are a single block, for dense
    attention. Note that the output of a position depends on the input of this position, so an
    autoregressive network must shift the inputs.

    `forward` computes all positions at once. `start` and `step` compute position by position; the
    required keys and values are in the state, which is passed and returned. Steps do not use
    dropout. Without gradients a step writes into the state, so a state must not be used twice.

    Args:
        grid: Length of the sequence, or the sizes of the axes of a grid, in row-major order.
        width: Channels of input and output.
        depth: Blocks of layers.
        heads: Attention heads.
        head_dim: Channels of each head, by default width / heads.
        dense_width: Channels within the networks of the positions, by default 4 width.
        local: Positions of a block of local attention; by default attention is dense.
        norm: ``"pre"`` for norms within the residual branches, ``"post"`` for norms after the sums.
        activation: ``"gelu"`` or ``"relu"``.
        positions: ``"learned"`` or ``"sinusoidal"``; see `Positions`.
        bias: If true, the projections of the attention use biases.
        dropout: Share of elements that are dropped in training: of the input, and of each residual
            branch.
        context_dim: Size of an optional context vector, for example a one-hot class, used by every
            block.
        order: Optional order of the positions of the grid, (positions); by default row by row. When
            using local attention, an order by rectangles of the grid makes the blocks
            two-dimensional.

    Shape:
        - x, y: (N, positions, width), or the first positions only; context: (N,
          context_dim).

    Raises:
        ValueError: If the heads do not divide the width and ``head_dim`` is not given, a block is
            larger than the sequence, or ``order`` does not have this many positions.

    Reference:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017), Attention
        Is All You Need; Parmar et al. (2018), Image Transformer, for the blocks.

    Example:
        >>> from pyro_exact.nn import CausalTransformer
        >>> net = CausalTransformer(6, width=8, depth=1, heads=2)
        >>> x = torch.randn(5, 6, 8)
        >>> state = net.start(5)
        >>> y, state = net.step(state, x[:, 0])
        >>> torch.allclose(y, net(x)[:, 0], atol=1e-6)
        True
    """

    def __init__(
        self,
        grid: int | Sequence[int],
        width: int,
        depth: int,
        heads: int,
        head_dim: int | None = None,
        dense_width: int | None = None,
        local: int | None = None,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        positions: Kind = "learned",
        bias: bool = True,
        dropout: float = 0.0,
        context_dim: int | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        name = "CausalTransformer"
        self.grid = check_shape(name, "grid", grid)
        self.length = prod(self.grid)
        self.width = width = check_size(name, "width", width)
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        _check_choice("norm", norm, get_args(Norm))
        _check_choice("activation", activation, get_args(Activation))
        _check_choice("positions", positions, get_args(Kind))

        heads = check_size(name, "heads", heads, most=LARGEST_COUNT)
        head_dim = _head_dim(width, heads, head_dim)
        if dense_width is None:
            dense_width = 4 * width

        dense_width = check_size(name, "dense_width", dense_width)
        largest = max(3 * heads * head_dim, dense_width, self.length)
        check_elements(name, width, largest)
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)

        self.context_dim = context_dim
        self.local = _block(self.length, local)
        self.positions = Positions(self.grid, width, positions, order)
        self.dropout = Dropout(check_share(name, "dropout", dropout))
        self.blocks: Sequence[TransformerBlock] = nn.ModuleList(  # type: ignore[assignment]
            TransformerBlock(
                width,
                heads,
                head_dim,
                dense_width,
                self.local,
                norm,
                activation,
                bias,
                dropout,
                context_dim,
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the outputs of all positions."""
        features = self.positions()
        h = x + features[: x.shape[-2]]
        h = self.dropout(h)

        for block in self.blocks:
            h = block(h, context)

        return h

    def start(self, batch: int, context: Tensor | None = None) -> TransformerState:
        """Return the state before the first step.

        Args:
            batch: N, the size of the batch of sequences.
            context: (N, context_dim).
        """
        device = self.blocks[0].first.weight.device
        position = torch.zeros(1, dtype=torch.long, device=device)
        rings = tuple(block.attention.start(batch, self.length) for block in self.blocks)

        return TransformerState(position, self.positions(), rings, context)

    def step(
        self,
        state: TransformerState,
        x: Tensor,
    ) -> tuple[Tensor, TransformerState]:
        """Return the output of the next position, (N, width), and the next state.

        Args:
            state: From `start`, or from the step before.
            x: The input of the position, (N, width).
        """
        position, features, rings, context = state
        slots = rings[0].keys.shape[-2]
        place = slot_of(position, self.local, slots)

        h = x + features.index_select(0, position)
        h = h.unsqueeze(1)

        after = []
        for block, ring in zip(self.blocks, rings, strict=True):
            h, ring = block.step(ring, place, h, context)
            after.append(ring)

        position = following(position)
        state = TransformerState(position, features, tuple(after), context)

        return h.squeeze(1), state

    def extra_repr(self) -> str:
        return f"{self.grid}, {self.width}, local={self.local}"


def _check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        wanted = " or ".join(map(repr, choices))
        raise ValueError(
            f"CausalTransformer expects {option} {wanted}; got {value!r}. Choose one of them."
        )


def _head_dim(width: int, heads: int, head_dim: int | None) -> int:
    """Return the channels of a head."""
    if head_dim is not None:
        return check_size("CausalTransformer", "head_dim", head_dim)

    if width % heads:
        raise ValueError(
            f"CausalTransformer expects a width that is a multiple of heads; got width {width} and "
            f"{heads} heads. "
            f"Choose a width of {-(-width // heads) * heads}, or pass head_dim."
        )

    return width // heads


def _block(length: int, local: int | None) -> int:
    """Return the positions of a block."""
    if local is None:
        return length

    size = check_size("CausalTransformer", "local", local)
    if size > length:
        raise ValueError(
            f"CausalTransformer expects blocks of at most the {length} positions; got "
            f"local={size}. "
            f"Leave it out for dense attention."
        )

    return size
