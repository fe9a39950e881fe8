"""Masked networks: each output sees only the inputs before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.nn.conditioner import required

State = tuple[Tensor, ...]


class MaskedLinear(nn.Linear):
    r"""A linear layer whose unit of degree :math:`m` sees the inputs of degree at most :math:`m`.

    Args:
        in_degrees: Degree of each input.
        out_degrees: Degree of each output.
        strict: Whether an output sees only inputs of smaller degree, as the last layer must.

    Shape:
        - x: (\*batch, len(in_degrees)); y: (\*batch, len(out_degrees)).

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE, equations 8-9 and 12-13.
    """

    mask: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, strict: bool = False) -> None:
        super().__init__(len(in_degrees), len(out_degrees))
        mask = out_degrees[:, None] > in_degrees if strict else out_degrees[:, None] >= in_degrees
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the masked linear map of the input."""
        return F.linear(input, self.weight * self.mask, self.bias)


class MaskedDense(nn.Module):
    r"""A multilayer perceptron whose output for a dimension is a function of the dimensions before it, and a context.

    `forward` evaluates all dimensions at once. `start` and `step` evaluate them one after the other, where each input
    may depend on the outputs so far: a step computes only what its input completes, so that all steps together cost no
    more arithmetic than one `forward`.

    The last layer starts at zero.

    Args:
        dim: Number of dimensions.
        num_params: Number of outputs for each dimension.
        hidden_dims: Widths of the hidden layers, each at least ``dim - 1``, or some input would reach no output;
            with a context, at least ``dim``. `None` for two layers of ``max(64, 2 dim)``.
        context_dim: Size of the context vector, which every output sees.
        order: In which order the dimensions come: a permutation of 0, ..., dim - 1; `None` for that one.

    Shape:
        - x: (\*batch, dim); context: (\*batch, context_dim).
        - theta: (\*batch, dim, num_params).

    Raises:
        ValueError: If a hidden layer is too narrow, or ``order`` is no permutation.

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation, section 4.

    Example:
        >>> net = MaskedDense(3, num_params=2)
        >>> theta = net(torch.randn(5, 3))
        >>> theta.shape
        torch.Size([5, 3, 2])
    """

    indices: Tensor
    back: Tensor

    def __init__(
        self,
        dim: int,
        num_params: int,
        hidden_dims: Sequence[int] | None = None,
        context_dim: int | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        hidden_dims = [max(64, 2 * dim)] * 2 if hidden_dims is None else list(hidden_dims)
        self.order = tuple(range(dim)) if order is None else tuple(int(i) for i in order)
        if dim < 1 or sorted(self.order) != list(range(dim)):
            raise ValueError(f"MaskedDense expects dim >= 1 and an order of 0, ..., dim - 1; got {dim} and {order}.")
        self.dim, self.num_params = dim, num_params
        self.context_shape = None if context_dim is None else (context_dim,)
        # The k-th input has degree k, from 1; a context has degree 0. A hidden unit sees what comes up to its degree,
        # an output what comes before its dimension.
        least = 1 if context_dim is None and dim > 1 else 0
        if min(hidden_dims, default=dim) < dim - least:
            raise ValueError(
                f"MaskedDense expects hidden widths of at least {dim - least} for {dim} dimensions; got {hidden_dims}, "
                f"with which some inputs would reach no output. Widen the layers."
            )
        inputs = torch.cat((torch.zeros(context_dim or 0, dtype=torch.long), torch.arange(1, dim + 1)))
        hidden = [least + torch.arange(width) * (dim - least) // width for width in hidden_dims]
        outputs = torch.arange(1, dim + 1).repeat_interleave(num_params)
        degrees = [inputs, *hidden, outputs]
        self.layers: Sequence[MaskedLinear] = nn.ModuleList(  # type: ignore[assignment]
            MaskedLinear(below, above, strict=i == len(hidden)) for i, (below, above) in enumerate(pairwise(degrees))
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        # firsts[l][d] is the first unit of hidden layer l with degree d or more: `step` cuts the layers there
        self.firsts = [[int((h < d).sum()) for d in range(dim + 1)] for h in hidden]
        self.register_buffer("indices", torch.tensor(self.order), persistent=False)
        self.register_buffer("back", self.indices.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the outputs of all dimensions."""
        h = x.index_select(-1, self.indices)
        if self.context_shape is not None:
            context = required(context, self.context_shape)
            h = torch.cat((context.expand(*x.shape[:-1], -1), h), dim=-1)
        for layer in self.layers[:-1]:
            h = layer(h).relu()
        return self.layers[-1](h).unflatten(-1, (self.dim, self.num_params)).index_select(-2, self.back)

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None) -> State:
        """Return the state before the first step: for each layer, what its units have received so far."""
        first, *others = (layer.bias.expand(*batch_shape, -1) for layer in self.layers)
        if self.context_shape is not None:
            weight = self.layers[0].weight[:, : self.context_shape[0]]
            first = first + F.linear(required(context, self.context_shape), weight)
        return first, *others

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        """Return the outputs of the next dimension in ``order``, (*batch, num_params), and the next state.

        Args:
            state: From `start`, or from the step before. It holds only units that are not complete.
            previous: The input of the dimension of the step before, (*batch); at the first step, nothing.
        """
        degree = self.dim - state[-1].shape[-1] // self.num_params  # of the new input; the state holds nothing below it
        new = None if previous is None else previous.unsqueeze(-1)
        column = (0 if self.context_shape is None else self.context_shape[0]) + degree - 1
        following = []
        for layer, received, firsts in zip(self.layers, state, [*self.firsts, None], strict=True):
            if new is not None:
                weight = layer.weight[layer.out_features - received.shape[-1] :, column : column + new.shape[-1]]
                received = received + F.linear(new, weight)
            if firsts is not None:
                column, complete = firsts[degree], firsts[degree + 1] - firsts[degree]
                new, received = received[..., :complete].relu(), received[..., complete:]
            following.append(received)
        theta, following[-1] = following[-1].tensor_split([self.num_params], dim=-1)
        return theta, tuple(following)

    def extra_repr(self) -> str:
        return f"{self.dim}, num_params={self.num_params}"
