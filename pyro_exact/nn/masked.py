"""Masked networks: each output sees only the inputs before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.nn.conditioner import required
from pyro_exact.nn.dropout import Dropout

T = TypeVar("T")
State = tuple[Any, ...]  # the first is `progress`; the rest holds tensors, and is the network's own

SMALL = 2**20  # weights of a layer for which one block is fastest; a larger one may have BLOCKS of them
BLOCKS = 8
ENOUGH = 0.8  # of the products of weights and inputs: where blocks do not leave out the rest, there is one


def progress(member: int, done: int) -> Tensor:
    """Return an empty tensor whose shape says which member takes its steps, and how many are done.

    As part of a state a shape can be traced, and read without waiting for a device.
    """
    return torch.empty(member, done, 0)


class MaskedLinear(nn.Linear):
    r"""A linear layer whose unit of degree :math:`m` sees the inputs of degree at most :math:`m`.

    A large layer whose degrees come in ascending order works in blocks of units. A block leaves out the inputs that
    none of its units sees, which is nearly half of the arithmetic, and masks only those that some of them see.

    Args:
        in_degrees: Degree of each input, (masks, in_features): one row for each mask.
        out_degrees: Degree of each output, (masks, out_features).
        bias: Whether to add a bias.
        saved: Whether the degrees are part of the state, and not of the arguments alone.

    Shape:
        - x: (\*batch, in_features); y: (\*batch, out_features).

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE, equations 8-9 and 12-13.
    """

    in_degrees: Tensor
    out_degrees: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, bias: bool = True, saved: bool = False) -> None:
        super().__init__(in_degrees.shape[-1], out_degrees.shape[-1], bias)
        self.register_buffer("in_degrees", in_degrees.int(), persistent=saved)
        self.register_buffer("out_degrees", out_degrees.int(), persistent=saved)
        self._plan = Derived(Plan, self.in_degrees, self.out_degrees)
        self.register_load_state_dict_post_hook(_derive)

    @property
    def plan(self) -> Plan:
        """What follows from the degrees."""
        return self._plan.of(self.in_degrees, self.out_degrees)

    def complete(self, degree: int, member: int = 0) -> Tensor:
        """Return which units have a degree: all their inputs are there once those up to the degree are."""
        first, last = self.plan.runs[member].get(degree, (0, 0))
        return self.plan.by_degree[member, first:last].to(self.out_degrees.device)

    def mask(self, member: int = 0) -> Tensor:
        """Return where an output sees an input, (out_features, in_features)."""
        return self.out_degrees[member, :, None] >= self.in_degrees[member]

    def forward(self, input: Tensor, member: int = 0) -> Tensor:
        """Return the masked linear map of the input, under one of the masks."""
        degrees, blocks = (self.in_degrees[member], self.out_degrees[member]), self.plan.blocks[member]
        if len(blocks) == 1:
            return F.linear(input, self.weight * _mask(self.weight, *degrees), self.bias)
        x, weight = input.reshape(-1, self.in_features), self.weight
        if torch.is_autocast_enabled(x.device.type):  # else autocast would find the products, but not their gradients
            x, weight = (factor.to(torch.get_autocast_dtype(x.device.type)) for factor in (x, weight))
        y = MaskedProduct.apply(x, weight, *degrees, blocks)
        y = y.view(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


class Plan:
    """What Python needs to know of the degrees of a layer, under each mask.

    Attributes:
        blocks: Blocks of units that are computed together.
        by_degree: Numbers of the units, those of a lower degree first, (masks, out_features).
        runs: Where the units of a degree are among these.
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor) -> None:
        self.blocks = [_blocks(*degrees) for degrees in zip(in_degrees.cpu(), out_degrees.cpu(), strict=True)]
        self.by_degree = out_degrees.argsort(dim=-1, stable=True)
        self.runs = [_runs(degrees) for degrees in out_degrees]


class Derived(Generic[T]):
    """What Python derives from tensors, anew when they are others or have been written into.

    A compiler takes what was derived before: to look at the numbers would break its graph.

    Args:
        derive: A function of the tensors.
        tensors: The first ones.
    """

    def __init__(self, derive: Callable[..., T], *tensors: Tensor) -> None:
        self.derive = derive
        self._set(tensors)

    def of(self, *tensors: Tensor) -> T:
        """Return what is derived from tensors as they are now."""
        if not torch.compiler.is_compiling():
            same = all(mine is yours for mine, yours in zip(self.tensors, tensors, strict=True))
            if not same or self.versions != _versions(tensors):
                self._set(tensors)
        return self.value

    def _set(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors, self.versions, self.value = tensors, _versions(tensors), self.derive(*tensors)


def _versions(tensors: tuple[Tensor, ...]) -> list[int]:
    """Return numbers that change when the tensors are written into."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _first_order(orders: Tensor) -> list[int]:
    order: list[int] = orders[0].tolist()
    return order


def _derive(module: MaskedLinear | MaskedDense, _: object) -> None:
    """Look at what was loaded, before a compiler does."""
    if isinstance(module, MaskedLinear):
        _ = module.plan
    else:
        _ = module.order


class Block(NamedTuple):
    """Neighbouring units; all of them see the inputs before ``whole``, none those from ``reach`` on."""

    units: slice
    whole: int
    reach: int


class MaskedProduct(torch.autograd.Function):
    """The product of a batch with masked weights, (n, in), (out, in) -> (n, out), block by block.

    The gradient of the weights is written into one tensor. Autograd would put it together from its blocks, and from the
    parts of each block, which takes longer than what the blocks leave out. What is written into begins as a product
    over nothing: as such it is zero, and has the batch dimensions of `torch.func.vmap` that its factors have.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, in_degrees: Tensor, out_degrees: Tensor, blocks: list[Block]) -> Tensor:
        """Return the product."""
        y = x[:, :0] @ weight[:, :0].T
        for units, whole, reach in blocks:
            mask = _mask(weight, in_degrees[whole:reach], out_degrees[units])
            y[:, units] = x[:, :whole] @ weight[units, :whole].T
            y[:, units] += x[:, whole:reach] @ (weight[units, whole:reach] * mask).T
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the gradients need."""
        *tensors, ctx.blocks = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        """Return the gradients of the batch and of the weights."""
        x, weight, in_degrees, out_degrees = ctx.saved_tensors
        grad_x = grad[:, :0] @ weight[:0] if ctx.needs_input_grad[0] else None
        grad_weight = grad[:0].T @ x[:0]
        for units, whole, reach in ctx.blocks:
            mask = _mask(weight, in_degrees[whole:reach], out_degrees[units])
            grad_weight[units, :reach] = grad[:, units].T @ x[:, :reach]
            grad_weight[units, whole:reach] *= mask
            if grad_x is not None:
                grad_x[:, :whole] += grad[:, units] @ weight[units, :whole]
                grad_x[:, whole:reach] += grad[:, units] @ (weight[units, whole:reach] * mask)
        return grad_x, grad_weight, None, None, None


def _mask(weight: Tensor, in_degrees: Tensor, out_degrees: Tensor) -> Tensor:
    """Return ones where units see inputs and zeros elsewhere, as numbers: bools are slow to multiply by."""
    mask = weight.new_empty(len(out_degrees), len(in_degrees))
    return torch.ge(out_degrees[:, None].float(), in_degrees.float(), out=mask)


def _blocks(in_degrees: Tensor, out_degrees: Tensor) -> list[Block]:
    units, inputs = len(out_degrees), len(in_degrees)
    size = max(1, -(-units // BLOCKS))
    blocks = [_block(in_degrees, out_degrees, slice(first, first + size)) for first in range(0, units, size)]
    products = sum(len(out_degrees[block.units]) * block.reach for block in blocks)
    if units * inputs < SMALL or products > ENOUGH * units * inputs:
        return [_block(in_degrees, out_degrees, slice(0, units))]
    return blocks


def _block(in_degrees: Tensor, out_degrees: Tensor, units: slice) -> Block:
    degrees = out_degrees[units]
    unseen = (in_degrees > degrees.min()).nonzero()
    seen = (in_degrees <= degrees.max()).nonzero()
    whole = int(unseen[0]) if len(unseen) else len(in_degrees)
    reach = int(seen[-1]) + 1 if len(seen) else 0
    return Block(units, min(whole, reach), reach)


class MaskedDense(nn.Module):
    r"""A multilayer perceptron whose output for a dimension is a function of the dimensions before it, and a context.

    `forward` evaluates all dimensions at once. `start` and `step` evaluate them one after the other, where each input
    may depend on the outputs so far: a step computes only what its input completes, so that all steps together cost no
    more arithmetic than one `forward` without masks.

    One mask spreads the degrees of the hidden units evenly. Several are drawn at random, each with its own order: an
    ensemble of networks that share their weights. The last layer starts at zero.

    Args:
        dim: Number of dimensions.
        num_params: Number of outputs for each dimension.
        hidden_dims: Widths of the hidden layers, each at least ``dim - 1``, or some input would reach no output;
            with a context, at least ``dim``. `None` for two layers of ``max(64, 2 dim)``.
        context_dim: Size of the context vector, which every output sees.
        order: In which order the dimensions come: a permutation of 0, ..., dim - 1, or one for each mask; `None` for
            that one, or with several masks for random ones.
        masks: Number of masks, which are the members of the ensemble.
        seed: Of random degrees and orders; they are saved with the weights. `None` for degrees spread evenly.
        direct: Whether to add a linear map from the inputs to the outputs; hidden layers may then be narrow.
        dropout: Share of the hidden units that `forward` leaves out in training.

    Shape:
        - x: (\*batch, dim); context: (\*batch, context_dim).
        - theta: (\*batch, dim, num_params).

    Raises:
        ValueError: If a hidden layer is too narrow, ``order`` is no permutation, several masks have no seed, or
            ``dropout`` is outside [0, 1); on another number of orders than of masks.

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation, section 4.

    Example:
        >>> net = MaskedDense(3, num_params=2)
        >>> theta = net(torch.randn(5, 3))
        >>> theta.shape
        torch.Size([5, 3, 2])
    """

    orders: Tensor

    def __init__(
        self,
        dim: int,
        num_params: int,
        hidden_dims: Sequence[int] | None = None,
        context_dim: int | None = None,
        order: Sequence[int] | Sequence[Sequence[int]] | None = None,
        masks: int = 1,
        seed: int | None = None,
        direct: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_dims = [max(64, 2 * dim)] * 2 if hidden_dims is None else list(hidden_dims)
        orders = by_mask(range(dim) if order is None else order, masks)
        if dim < 1 or any(sorted(one) != list(range(dim)) for one in orders):
            raise ValueError(f"MaskedDense expects dim >= 1 and an order of 0, ..., dim - 1; got {dim} and {order}.")
        if masks < 1 or (masks > 1 and seed is None):
            raise ValueError(f"MaskedDense expects one mask, or several and a seed; got {masks} and seed {seed}.")
        self.dim, self.num_params = dim, num_params
        self.context_shape = None if context_dim is None else (context_dim,)
        # The k-th input in the order has degree k, from 1; a context has degree 0. A hidden unit sees what comes up to
        # its degree, an output what comes before its dimension.
        least = 1 if context_dim is None and dim > 1 else 0
        if not direct and min(hidden_dims, default=dim) < dim - least:
            raise ValueError(
                f"MaskedDense expects hidden widths of at least {dim - least} for {dim} dimensions; got {hidden_dims}, "
                f"with which some inputs would reach no output. Widen the layers."
            )
        given = torch.tensor([[int(i) for i in one] for one in orders])
        self.register_buffer("orders", given, persistent=seed is not None)
        if seed is None:
            hidden = [(least + torch.arange(width) * (dim - least) // width)[None] for width in hidden_dims]
        else:
            generator = torch.Generator().manual_seed(seed)
            if order is None and masks > 1:
                self.orders = torch.stack([torch.randperm(dim, generator=generator) for _ in range(masks)])
            hidden = _random_degrees(masks, hidden_dims, least, max(least, dim - 1), generator)
        places = self.orders.argsort() + 1
        context = torch.zeros(masks, context_dim or 0, dtype=torch.long)
        outputs = (places - 1).repeat_interleave(num_params, dim=-1)
        degrees = [torch.cat((context, places), dim=-1), *hidden, outputs]
        saved = seed is not None
        self.layers: Sequence[MaskedLinear] = nn.ModuleList(  # type: ignore[assignment]
            MaskedLinear(below, above, saved=saved) for below, above in pairwise(degrees)
        )
        self.direct = MaskedLinear(places, outputs, bias=False, saved=saved) if direct else None
        self.dropout = Dropout(dropout)
        for parameter in (*self.layers[-1].parameters(), *(self.direct.parameters() if self.direct else ())):
            nn.init.zeros_(parameter)
        self._order = Derived(_first_order, self.orders)
        self.register_load_state_dict_post_hook(_derive)

    @property
    def order(self) -> list[int]:
        """In which order the dimensions come under the first mask; `MaskedAutoregressive` asks for it."""
        return self._order.of(self.orders)

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        """Return the outputs of all dimensions, under one of the masks."""
        h = x
        if self.context_shape is not None:
            context = required(context, self.context_shape, x)
            h = torch.cat((context.expand(*x.shape[:-1], -1), h), dim=-1)
        for layer in self.layers[:-1]:
            h = self.dropout(layer(h, member).relu())
        theta = self.layers[-1](h, member)
        if self.direct is not None:
            theta = theta + self.direct(x, member)
        return theta.unflatten(-1, (self.dim, self.num_params))

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0) -> State:
        """Return the state before the first step: how far it is, and what the units of each layer have received."""
        first, *others = (layer.bias.expand(*batch_shape, -1) for layer in self.layers)
        if self.context_shape is not None:
            weight = self.layers[0].weight[:, : self.context_shape[0]]
            first = first + F.linear(required(context, self.context_shape, weight), weight)
        return progress(member, 0), first, *others

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        """Return the outputs of the next dimension in the order, (*batch, num_params), and the next state.

        Args:
            state: From `start`, or from the step before. A unit that is complete receives more, but is not read again.
            previous: The input of the dimension of the step before, (*batch); at the first step, nothing.
        """
        (member, degree, _), received = state[0].shape, list(state[1:])
        order = self.orders[member]
        if previous is not None:
            new, column = previous.unsqueeze(-1), order[degree - 1 : degree]
            if self.direct is not None:
                received[-1] = received[-1] + F.linear(new, self.direct.weight.index_select(1, column))
            column = column + self.layers[0].in_features - self.dim  # behind the context
            received[0] = received[0] + F.linear(new, self.layers[0].weight.index_select(1, column))
        for i, (below, above) in enumerate(pairwise(self.layers)):
            complete = below.complete(degree, member)
            new = received[i].index_select(-1, complete).relu()
            received[i + 1] = received[i + 1] + F.linear(new, above.weight.index_select(1, complete))
        by_dimension = received[-1].unflatten(-1, (self.dim, self.num_params))
        theta = by_dimension.index_select(-2, order[degree : degree + 1]).squeeze(-2)
        return theta, (progress(member, degree + 1), *received)

    def extra_repr(self) -> str:
        return f"{self.dim}, num_params={self.num_params}"


def by_mask(order: Sequence[int] | Sequence[Sequence[int]], masks: int) -> list[Sequence[int]]:
    """Return the order of each mask, where ``order`` is one for all of them or one for each."""
    first = order[0] if len(order) else 0
    if torch.as_tensor(first).dim() == 0:
        return [cast(Sequence[int], order)] * masks
    if len(order) != masks:
        raise ValueError(f"Masks expect one order, or one for each of the {masks}; got {len(order)} orders.")
    return list(cast(Sequence[Sequence[int]], order))


def _runs(degrees: Tensor) -> dict[int, tuple[int, int]]:
    """Return where each degree begins and ends when the units are sorted by degree."""
    found, counts = degrees.unique(return_counts=True)
    ends = counts.cumsum(0)
    return {d: (end - n, end) for d, n, end in zip(found.tolist(), counts.tolist(), ends.tolist(), strict=True)}


def _random_degrees(
    masks: int, widths: Sequence[int], least: int, most: int, generator: torch.Generator
) -> list[Tensor]:
    """Draw the degrees of each hidden layer, (masks, width), from the smallest in the layer below to ``most``."""
    drawn: list[Tensor] = []
    for width in widths:
        lowest = drawn[-1].amin(-1, keepdim=True) if drawn else torch.full((masks, 1), least)
        uniform = torch.rand(masks, width, generator=generator, dtype=torch.float64)
        degrees = lowest + (uniform * (most + 1 - lowest)).long()
        # The units of a layer are alike, so those of a single mask may as well stand in order: see `MaskedLinear`.
        drawn.append(degrees.sort(-1).values if masks == 1 else degrees)
    return drawn
