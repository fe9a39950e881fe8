"""Attention whose gradient can be differentiated again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return scaled dot-product attention, (*batch, positions, channels), by the fastest kernel that there is.

    The fast kernels of torch have no second derivative. So a gradient that is to be differentiated
    again, as for a Hessian, and transforms of `torch.func` take the plain formula, which holds all
    pairs of
    positions in memory.
    """
    if functorch_active():
        return _plain(query, key, value)
    with_gradient = torch.is_grad_enabled() and query.requires_grad
    if not with_gradient or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return F.scaled_dot_product_attention(query, key, value)
    attended: Tensor = Attend.apply(query, key, value)
    return attended


class Attend(torch.autograd.Function):
    """The fast kernel, with its own gradient where that is the last one."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        """Return the attention of a query, a key and a value."""
        ctx.save_for_backward(*inputs)
        with torch.enable_grad():
            ctx.inputs = [each.detach().requires_grad_() for each in inputs]
            ctx.attended = F.scaled_dot_product_attention(*ctx.inputs)
        return ctx.attended.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the query, the key and the value."""
        inputs = ctx.saved_tensors
        if not (torch.is_grad_enabled() or functorch_active(grad)):
            return torch.autograd.grad(ctx.attended, ctx.inputs, grad, retain_graph=True)
        wanted = [each for each in inputs if each.requires_grad]
        with torch.enable_grad():
            found = iter(torch.autograd.grad(_plain(*inputs), wanted, grad, create_graph=True))
        return tuple(next(found) if each.requires_grad else None for each in inputs)


def _plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
    return weights @ value
