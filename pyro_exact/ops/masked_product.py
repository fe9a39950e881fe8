r"""The product of a batch with masked weights, block by block.

The plain formula is ``x @ (weight * mask).T``. Where units and inputs come in the order of their
degrees, the mask is close to a triangle: a block of units sees all inputs up to some place, none
from another place on, and a mask must be used only between the two. Blocks leave out nearly half of
the arithmetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_exact.ops.functorch import functorch_active

Degrees = tuple[Tensor, Tensor]  # of the inputs, and of the units, under one mask

LARGE = 2**18  # weights of a layer from which on blocks pay
BLOCKS = 6
ENOUGH = 0.8  # the largest share of the products for which blocks are used


def degree_mask(in_degrees: Tensor, out_degrees: Tensor) -> Tensor:
    """Return the mask of MADE: 1 where a unit has at least the degree of an input, else 0.

    See equations 8 and 9 of the paper. The type is floating-point, because products with a tensor
    of bools are slow.
    """
    seen = out_degrees.unsqueeze(-1) >= in_degrees.unsqueeze(-2)
    return seen.to(torch.get_default_dtype())


def is_large(weights: int) -> bool:
    """Return whether blocks should be used for a layer with this many weights."""
    return weights >= LARGE


class Block(NamedTuple):
    """Neighbouring units that see all inputs before ``whole``, and no inputs from ``reach`` on."""

    units: slice
    whole: int
    reach: int


class Blocks:
    """The blocks of a layer for a mask, and the mask within each block.

    Args:
        in_degrees: Degree of each input.
        out_degrees: Degree of each unit.
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor) -> None:
        self.degrees = in_degrees, out_degrees
        self.blocks = _blocks(in_degrees.cpu(), out_degrees.cpu())
        self.masks = [
            degree_mask(in_degrees[whole:reach], out_degrees[units])
            for units, whole, reach in self.blocks
        ]

    def __len__(self) -> int:
        return len(self.blocks)


def masked_product_reference(x: Tensor, weight: Tensor, degrees: Degrees) -> Tensor:
    """Return ``x @ (weight * mask).T`` as the formula says, using the mask of these degrees."""
    mask = degree_mask(*degrees).to(weight.dtype)
    return x @ (weight * mask).T


def masked_product(x: Tensor, weight: Tensor, blocks: Blocks) -> Tensor:
    """Return ``x @ (weight * mask).T``, using blocks: (n, in) and (out, in) -> (n, out)."""
    masks = [mask.to(weight.dtype) for mask in blocks.masks]
    product: Tensor = MaskedProduct.apply(
        x,
        weight,
        blocks.degrees,
        blocks.blocks,
        masks,
    )
    return product


class MaskedProduct(torch.autograd.Function):
    """The product, with gradients that are written into a single tensor.

    Autograd would concatenate the gradients of all blocks, which takes longer than the arithmetic
    that the blocks leave out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        degrees: Degrees,
        blocks: list[Block],
        masks: list[Tensor],
    ) -> Tensor:
        """Return the product."""
        ctx.degrees = degrees
        ctx.blocks = blocks
        ctx.masks = masks
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

        y = x.new_zeros(len(x), len(weight))
        masked_blocks = zip(blocks, masks, strict=True)
        for (units, whole, reach), mask in masked_blocks:
            y_block = y[:, units]
            rows = weight[units]

            # y = x (W * M)^T, where all units see the inputs before ``whole``
            seen = rows[:, :whole]
            y_block.addmm_(x[:, :whole], seen.T)

            # and the mask counts only between ``whole`` and ``reach``
            masked = rows[:, whole:reach] * mask
            y_block.addmm_(x[:, whole:reach], masked.T)

        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the batch and of the weights."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, *_ = ctx.needs_input_grad

        # The gradient itself may be differentiated, or come in batches.
        if torch.is_grad_enabled() or functorch_active(grad):
            mask = degree_mask(*ctx.degrees).to(weight.dtype)
            grad_x = grad @ (weight * mask) if needs_x else None
            grad_weight = (grad.T @ x) * mask if needs_weight else None
            return grad_x, grad_weight, None, None, None

        grad_x = torch.zeros_like(x) if needs_x else None
        grad_weight = torch.empty_like(weight) if needs_weight else None

        blocks = zip(ctx.blocks, ctx.masks, strict=True)
        for (units, whole, reach), mask in blocks:
            grad_y = grad[:, units]
            rows = weight[units]

            # dx = dy (W * M)
            if grad_x is not None:
                seen = rows[:, :whole]
                masked = rows[:, whole:reach] * mask

                grad_x[:, :whole].addmm_(grad_y, seen)
                grad_x[:, whole:reach].addmm_(grad_y, masked)

            # dW = (dy^T x) * M
            if grad_weight is not None:
                block = grad_weight[units]
                inputs = x[:, :reach]
                block[:, :reach].addmm_(
                    grad_y.T,
                    inputs,
                    beta=0,
                )
                block[:, whole:reach] *= mask
                block[:, reach:] = 0

        return grad_x, grad_weight, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor, weight_tangent: Tensor, *_: object) -> Tensor:
        """Return the derivative in a direction."""
        x, weight = ctx.saved_tensors
        mask = degree_mask(*ctx.degrees).to(weight.dtype)
        from_x = x_tangent @ (weight * mask).T
        from_weight = x @ (weight_tangent * mask).T
        return from_x + from_weight


def _blocks(in_degrees: Tensor, out_degrees: Tensor) -> list[Block]:
    units = len(out_degrees)
    inputs = len(in_degrees)
    size = max(1, -(-units // BLOCKS))
    blocks = [
        _block(
            in_degrees,
            out_degrees,
            slice(first, first + size),
        )
        for first in range(0, units, size)
    ]

    whole = units * inputs
    products = sum(len(out_degrees[block.units]) * block.reach for block in blocks)
    if not is_large(whole) or products > ENOUGH * whole:
        return [_block(in_degrees, out_degrees, slice(0, units))]

    return blocks


def _block(in_degrees: Tensor, out_degrees: Tensor, units: slice) -> Block:
    degrees = out_degrees[units]
    unseen = (in_degrees > degrees.min()).nonzero()
    seen = (in_degrees <= degrees.max()).nonzero()
    whole = int(unseen[0]) if len(unseen) else len(in_degrees)
    reach = int(seen[-1]) + 1 if len(seen) else 0

    return Block(units, min(whole, reach), reach)
