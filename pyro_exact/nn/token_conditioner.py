"""The base class of conditioners of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_exact.nn.conditioner import Conditioner


class TokenConditioner(Conditioner):
    r"""Base class of a conditioner whose theta depends on the tokens before only.

    A token is a vector whose elements come at once, for example a patch of an image. Derive from
    this class to use another network in `pyro_exact.transforms.TokenAutoregressive`. You should
    implement `start` and `step` when a step can cost less than a whole pass; by default, each step
    is a pass.

    Attributes:
        tokens: Tokens of an event.
        token_dim: Size of a token.

    Shape:
        - x: (\*batch, tokens, token_dim); context: (\*batch, \*context_shape).
        - theta: (\*batch, tokens, token_dim, num_params).
    """

    def __init__(
        self,
        tokens: int,
        token_dim: int,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(token_dim, context_shape)
        self.tokens = tokens
        self.token_dim = token_dim

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None) -> Any:
        """Return the state before the first step."""
        weight = next(self.parameters(), torch.zeros(()))
        x = weight.new_zeros(*batch_shape, self.tokens, self.token_dim)
        return x, context, 0

    def step(self, state: Any, previous: Tensor | None = None) -> tuple[Tensor, Any]:
        r"""Return theta of the next token, (\*batch, token_dim, num_params), and the next state.

        Args:
            state: From `start`, or from the step before.
            previous: The token of the step before, (\*batch, token_dim); must be `None` at the
                first step.
        """
        x, context, done = state

        if previous is not None:
            place = torch.full((1,), done - 1, device=x.device)
            known = previous.unsqueeze(-2)
            x = x.to(previous.dtype).index_copy(-2, place, known)

        theta = self(x, context)

        return theta[..., done, :, :], (x, context, done + 1)
