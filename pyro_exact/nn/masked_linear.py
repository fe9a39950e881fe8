"""A masked linear layer: each unit sees the inputs up to its degree."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.nn.derived import Derived, derive_when_loaded
from pyro_exact.nn.transformed import transformed

Degrees = tuple[Tensor, Tensor]  # of the inputs, and of the units, under one mask

SMALL = 2**18  # weights of a layer for which one block is fastest; a larger one may have BLOCKS of them
BLOCKS = 6
ENOUGH = 0.8  # of the products of weights and inputs: where blocks do not leave out the rest, there is one


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
        derive_when_loaded(self, "plan")

    @property
    def plan(self) -> Plan:
        """What follows from the degrees."""
        return self._plan.of(self.in_degrees, self.out_degrees)

    def complete(self, degree: int, member: int = 0) -> Tensor:
        """Return which units have a degree: all their inputs are there once those up to the degree are."""
        first, last = self.plan.runs[member].get(degree, (0, 0))
        return self.plan.by_degree[member, first:last].to(self.out_degrees.device)

    def mask(self, member: int = 0) -> Tensor:
        """Return ones where an output sees an input and zeros elsewhere, (out_features, in_features)."""
        return _mask(self.in_degrees[member], self.out_degrees[member]).to(self.weight.dtype)

    def forward(self, input: Tensor, member: int = 0) -> Tensor:
        """Return the masked linear map of the input, under one of the masks."""
        if torch.compiler.is_compiling() or transformed() or len(self.plan.blocks[member]) == 1:
            return F.linear(input, self.weight * self.mask(member), self.bias)
        x, weight, device = input.reshape(-1, self.in_features), self.weight, input.device.type
        if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
            # Autocast by itself would find the products, but not those of the gradients.
            x, weight = (factor.to(torch.get_autocast_dtype(device)) for factor in (x, weight))
        masks = [mask.to(weight.dtype) for mask in self.plan.masks[member]]
        degrees = self.in_degrees[member], self.out_degrees[member]
        y = MaskedProduct.apply(x, weight, degrees, self.plan.blocks[member], masks)
        y = y.view(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class Plan:
    """What Python needs to know of the degrees of a layer, under each mask.

    Attributes:
        blocks: Blocks of units that are computed together.
        masks: For each block the mask of the inputs that some of its units see; of a single block, nothing.
        by_degree: Numbers of the units, those of a lower degree first, (masks, out_features).
        runs: Where the units of a degree are among these.
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor) -> None:
        rows = list(zip(in_degrees, out_degrees, strict=True))
        self.blocks = [_blocks(seen.cpu(), seeing.cpu()) for seen, seeing in rows]
        self.masks = [
            [_mask(seen[whole:reach], seeing[units]) for units, whole, reach in blocks] if len(blocks) > 1 else []
            for blocks, (seen, seeing) in zip(self.blocks, rows, strict=True)
        ]
        self.by_degree = out_degrees.argsort(dim=-1, stable=True)
        self.runs = [_runs(degrees) for degrees in out_degrees]


class Block(NamedTuple):
    """Neighbouring units; all of them see the inputs before ``whole``, none those from ``reach`` on."""

    units: slice
    whole: int
    reach: int


class MaskedProduct(torch.autograd.Function):
    """The product of a batch with masked weights, (n, in), (out, in) -> (n, out), block by block.

    The gradients are written into one tensor. Autograd would put them together from those of the blocks, and of the
    parts of each block, which takes longer than what the blocks leave out.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, degrees: Degrees, blocks: list[Block], masks: list[Tensor]
    ) -> Tensor:
        """Return the product."""
        ctx.degrees, ctx.blocks, ctx.masks = degrees, blocks, masks
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        y = x.new_zeros(len(x), len(weight))
        for (units, whole, reach), mask in zip(blocks, masks, strict=True):
            mine, rows = y[:, units], weight[units]
            mine.addmm_(x[:, :whole], rows[:, :whole].T)
            mine.addmm_(x[:, whole:reach], (rows[:, whole:reach] * mask).T)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the batch and of the weights."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled() or transformed(grad):  # the gradient is to be differentiated, or comes in batches
            mask = _mask(*ctx.degrees).to(weight.dtype)
            grad_x = grad @ (weight * mask) if of_x else None
            return grad_x, (grad.T @ x) * mask if of_weight else None, None, None, None
        grad_x = torch.zeros_like(x) if of_x else None
        grad_weight = torch.empty_like(weight) if of_weight else None
        for (units, whole, reach), mask in zip(ctx.blocks, ctx.masks, strict=True):
            grad_y, rows = grad[:, units], weight[units]
            if grad_x is not None:
                grad_x[:, :whole].addmm_(grad_y, rows[:, :whole])
                grad_x[:, whole:reach].addmm_(grad_y, rows[:, whole:reach] * mask)
            if grad_weight is not None:
                mine = grad_weight[units]
                mine[:, :reach].addmm_(grad_y.T, x[:, :reach], beta=0)
                mine[:, whole:reach] *= mask
                mine[:, reach:] = 0
        return grad_x, grad_weight, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor, weight_tangent: Tensor, *_: object) -> Tensor:
        """Return the derivative in a direction."""
        x, weight = ctx.saved_tensors
        mask = _mask(*ctx.degrees).to(weight.dtype)
        return x_tangent @ (weight * mask).T + x @ (weight_tangent * mask).T


def _mask(in_degrees: Tensor, out_degrees: Tensor) -> Tensor:
    """Return ones where a unit has at least the degree of an input, else zeros, as numbers: bools are slow here."""
    if transformed():
        return (out_degrees[:, None] >= in_degrees).float()
    mask = torch.empty(len(out_degrees), len(in_degrees), device=in_degrees.device)
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


def _runs(degrees: Tensor) -> dict[int, tuple[int, int]]:
    """Return where each degree begins and ends when the units are sorted by degree."""
    found, counts = degrees.unique(return_counts=True)
    ends = counts.cumsum(0)
    return {d: (end - n, end) for d, n, end in zip(found.tolist(), counts.tolist(), ends.tolist(), strict=True)}
