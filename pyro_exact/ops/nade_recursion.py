r"""The recursion of NADE, with a gradient that holds a single hidden layer in memory.

.. math::
    s_d = V_d\, \sigma(a_d), \qquad a_1 = c, \qquad a_{d+1} = a_d + W_d^\top x_d

`nade_recursion_reference` is the plain formula, which holds the hidden layers of all D dimensions;
`nade_recursion` computes the same.

Shape (for both):
    - x: (n, D, K), with K inputs of each dimension; W: (D, K, H); V: (D, P, H); c: (H).
    - result: (n, D, P).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active


def nade_recursion(x: Tensor, W: Tensor, V: Tensor, c: Tensor) -> Tensor:
    """Return the sums of all dimensions; see the module for the formula and for shapes.

    Second derivatives, and the transforms of `torch.func`, use the plain formula.
    """
    if functorch_active():
        return nade_recursion_reference(x, W, V, c)

    sums: Tensor = NADERecursion.apply(
        x,
        W,
        V,
        c,
    )
    return sums


def nade_recursion_reference(x: Tensor, W: Tensor, V: Tensor, c: Tensor) -> Tensor:
    """Compute `nade_recursion` by the plain formula."""
    # a_d = c + sum of W_k^T x_k over k < d, (D, n, H)
    columns = x.transpose(0, 1)
    added = columns[:-1] @ W[:-1]
    total = added.cumsum(0)
    a = c + F.pad(total, (0, 0, 0, 0, 1, 0))

    # s_d = V_d sigmoid(a_d)
    h = a.sigmoid().unsqueeze(2)
    sums = (h * V.unsqueeze(1)).sum(-1)

    return sums.transpose(0, 1)


class NADERecursion(torch.autograd.Function):
    """The recursion and the gradient.

    The forward pass leaves the last pre-activation. The backward pass subtracts the inputs again,
    dimension by dimension, while it sums the gradient of the pre-activation over the later
    dimensions. An input that is zero in the whole batch, such as a pixel at the border, changes no
    hidden unit and is skipped.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, V: Tensor, c: Tensor) -> Tensor:
        """Return the sums."""
        columns = x.transpose(0, 1).contiguous()
        changes: list[bool] = columns.flatten(1).any(1).tolist()
        sums = x.new_empty(*columns.shape[:2], V.shape[1])

        a = c.repeat(len(x), 1)
        h = a.sigmoid()
        for d, change in enumerate(changes):
            # s_d = V_d h_d
            _product(h, V[d], out=sums[d])

            # a_{d+1} = a_d + W_d^T x_d
            if change:
                _add_inputs(a, columns[d], W[d], 1)
                torch.sigmoid(a, out=h)

        ctx.save_for_backward(x, W, V, c, a)
        ctx.changes = changes

        return sums.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, W, V and c."""
        *inputs, a = ctx.saved_tensors

        # The gradient itself may be differentiated, or come in batches.
        if torch.is_grad_enabled() or functorch_active(grad):
            return _differentiable_gradient(inputs, grad)

        x, W, V, _ = inputs
        columns = x.transpose(0, 1).contiguous()
        a = a.clone()
        grad = grad.transpose(0, 1).contiguous()
        grad_x = torch.empty_like(columns) if ctx.needs_input_grad[0] else None
        grad_W = torch.zeros_like(W)
        grad_V = torch.empty_like(V)
        grad_a = torch.zeros_like(a)

        h = a.sigmoid()
        slope = h - h * h
        for d in reversed(range(len(W))):
            # a_{d+1} = a_d + W_d^T x_d:  dx_d = W_d da,  dW_d = sum of x_d da
            if grad_x is not None:
                _product(grad_a, W[d], out=grad_x[d])

            if ctx.changes[d]:
                _sum_of_products(columns[d], grad_a, out=grad_W[d])

                # Back to a_d, h_d = sigmoid(a_d), and its slope h_d - h_d^2.
                _add_inputs(a, columns[d], W[d], -1)
                torch.sigmoid(a, out=h)
                torch.addcmul(h, h, h, value=-1, out=slope)

            # s_d = V_d h_d:  dV_d = sum of ds_d h_d,  da += slope * (V_d^T ds_d)
            _add_gradient(grad[d], h, slope, V[d], grad_V[d], grad_a)

        rows = None if grad_x is None else grad_x.transpose(0, 1)
        return rows, grad_W, grad_V, grad_a.sum(0)


def _product(h: Tensor, V: Tensor, out: Tensor) -> None:
    """Write h V^T, (n, H) and (P, H) -> (n, P); a single column is faster as a vector."""
    if len(V) == 1:
        torch.mv(h, V[0], out=out[:, 0])
    else:
        torch.mm(h, V.T, out=out)


def _sum_of_products(x: Tensor, h: Tensor, out: Tensor) -> None:
    """Write x^T h, (n, K) and (n, H) -> (K, H); a single column is faster as a vector."""
    if x.shape[1] == 1:
        torch.mv(h.T, x[:, 0], out=out[0])
    else:
        torch.mm(x.T, h, out=out)


def _add_inputs(a: Tensor, x: Tensor, W: Tensor, sign: int) -> None:
    """Add or subtract W^T x, (n, K) and (K, H); a single column is faster as a vector."""
    if x.shape[1] == 1:
        a.addcmul_(x, W, value=sign)
    else:
        a.addmm_(x, W, alpha=sign)


def _add_gradient(
    d_s: Tensor,
    h: Tensor,
    slope: Tensor,
    V: Tensor,
    grad_V: Tensor,
    grad_a: Tensor,
) -> None:
    """Write dV = sum of ds h, and add slope * (V^T ds) to da, for s = V h."""
    _sum_of_products(d_s, h, out=grad_V)

    # A single column is faster as a vector.
    if len(V) == 1:
        grad_a.addcmul_(d_s, slope * V)
    else:
        grad_a.addcmul_(d_s @ V, slope)


def _differentiable_gradient(
    inputs: Sequence[Tensor],
    grad: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the plain formula, which can be differentiated again."""
    needed = [tensor for tensor in inputs if tensor.requires_grad]
    with torch.enable_grad():
        sums = nade_recursion_reference(*inputs)
        gradients = torch.autograd.grad(
            sums,
            needed,
            grad,
            create_graph=True,
        )

    found = iter(gradients)
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)
