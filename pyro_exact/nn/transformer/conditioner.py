"""A causal transformer as the network of an autoregressive layer over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements, check_size
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.token_conditioner import TokenConditioner
from pyro_exact.nn.transformer.causal_transformer import (
    CausalTransformer,
    TransformerState,
)


class ConditionerState(NamedTuple):
    """The state of the steps of a `TransformerConditioner`."""

    batch_shape: tuple[int, ...]
    transformer: TransformerState


class TransformerConditioner(TokenConditioner):
    r"""A causal transformer from tokens to the parameters of a formula, for `TokenAutoregressive`.

    .. math:: \theta_t = W\, \mathrm{transformer}(0, V x_1, \dots, V x_{t-1};\, \mathrm{context})_t

    The zero is the input of the first position, which has a learned vector as every position has.
    Without a context nothing is known before the first token; therefore the corresponding theta is
    zero, where a formula is the identity, or close to it. The last layer starts at zero, so that
    the layer starts as the identity.

    Args:
        tokens: Tokens of an event.
        token_dim: Size of a token.
        num_params: Parameters that the formula uses for each element.
        width: Channels of the transformer.
        depth: Blocks of the transformer.
        heads: Attention heads.
        context_dim: Size of an optional context vector, used by every block.
        grid: Optional sizes of the axes of a grid of tokens, when each position should be the sum
            of a vector for each axis; by default each position has a separate vector.

    Shape:
        - x: (\*batch, tokens, token_dim); context: (\*batch, context_dim).
        - theta: (\*batch, tokens, token_dim, num_params).

    Raises:
        ValueError: If the heads do not divide the width.

    Reference:
        Zhai, Zhang, Nakkiran, Berthelot, Gu, Zheng, Chen, Bautista, Jaitly and Susskind (2024),
        Normalizing Flows are Capable Generative Models, section 2.2, and official code
        (`MetaBlock`), which adds a class to the input alone.

    Example:
        >>> from pyro_exact.nn import TransformerConditioner
        >>> net = TransformerConditioner(4, 3, num_params=2, width=8, depth=1, heads=2)
        >>> net(torch.randn(5, 4, 3)).shape
        torch.Size([5, 4, 3, 2])
    """

    def __init__(
        self,
        tokens: int,
        token_dim: int,
        num_params: int,
        width: int = 128,
        depth: int = 4,
        heads: int = 2,
        context_dim: int | None = None,
        grid: Sequence[int] | None = None,
    ) -> None:
        name = "TransformerConditioner"
        tokens = check_size(name, "tokens", tokens)
        token_dim = check_size(name, "token_dim", token_dim)
        num_params = check_size(name, "num_params", num_params)
        width = check_size(name, "width", width)
        check_elements(name, width, token_dim, num_params)

        super().__init__(tokens, token_dim, context_dim)
        self.num_params = num_params
        self.embed = nn.Linear(token_dim, width)
        self.transformer = CausalTransformer(
            tokens if grid is None else grid,
            width,
            depth,
            heads,
            context_dim=context_dim,
        )
        self.last = nn.Linear(width, token_dim * num_params)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of all tokens."""
        batch = x.shape[:-2]
        rows = x.reshape(-1, self.tokens, self.token_dim)

        # The input of each position is the token before it.
        before = self.embed(rows[:, :-1])
        before = F.pad(before, (0, 0, 1, 0))
        h = self.transformer(before, self._rows(context, batch))

        theta = self._theta(h)
        if self.context_shape is None:
            theta = torch.cat((torch.zeros_like(theta[:, :1]), theta[:, 1:]), dim=1)

        return theta.reshape(*batch, self.tokens, self.token_dim, self.num_params)

    def start(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
    ) -> ConditionerState:
        """Return the state before the first step."""
        batch = torch.Size(batch_shape)
        rows = self._rows(context, batch)
        state = self.transformer.start(batch.numel(), rows)

        return ConditionerState(tuple(batch), state)

    def step(
        self, state: ConditionerState, previous: Tensor | None = None
    ) -> tuple[Tensor, ConditionerState]:
        batch, inner = state
        if previous is None:
            rows = torch.Size(batch).numel()
            before = self.last.weight.new_zeros(rows, self.transformer.width)
        else:
            tokens = previous.reshape(-1, self.token_dim)
            before = self.embed(tokens)

        h, inner = self.transformer.step(inner, before)
        theta = self._theta(h)
        if previous is None and self.context_shape is None:
            theta = torch.zeros_like(theta)

        theta = theta.reshape(*batch, self.token_dim, self.num_params)

        return theta, ConditionerState(batch, inner)

    def _rows(self, context: Tensor | None, batch: torch.Size) -> Tensor | None:
        """Return the contexts of all sequences, (N, context_dim)."""
        if self.context_shape is None:
            return None

        context = required(context, self.context_shape, self.last.weight)
        context = context.expand(*batch, -1)

        return context.reshape(-1, *self.context_shape)

    def _theta(self, h: Tensor) -> Tensor:
        """Return the parameters of each element, (*, token_dim, num_params)."""
        # The first parameter of all elements, then the second: quickest to take apart.
        theta: Tensor = self.last(h)
        return theta.unflatten(-1, (self.num_params, self.token_dim)).mT
