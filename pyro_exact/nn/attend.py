"""Attention whose gradient can be differentiated again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    r"""Compute scaled dot-product attention, using the fastest kernel.

    It is used by all transformers of this library.

    .. math:: y_t = \sum_s \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt{d}\big)\, v_s

    The fast kernels of torch have no second derivative. When a gradient must be differentiated
    again, for example for a Hessian, and for transforms of `torch.func`, this function uses the
    plain formula, which holds all pairs of positions in memory.

    Args:
        query: (\*batch, positions, d).
        key: (\*batch, keys, d).
        value: (\*batch, keys, channels).
        mask: Optional mask of the keys that each position sees, (positions, keys); by default it
            sees all keys. Each position must see at least a single key.
        causal: If true, position t sees the keys 0, ..., t only; use it instead of
            a mask.

    Returns:
        The attention, (\*batch, positions, channels).
    """
    if functorch_active():
        return _plain(query, key, value, mask, causal)

    with_gradient = torch.is_grad_enabled() and query.requires_grad
    if not with_gradient or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)

    attended: Tensor = Attend.apply(query, key, value, mask, causal)

    return attended


class Attend(torch.autograd.Function):
    """The fast kernel, and the gradient of that kernel unless it is to be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
    ) -> Tensor:
        """Return the attention of a query, a key and a value."""
        ctx.save_for_backward(query, key, value)
        ctx.mask = mask
        ctx.causal = causal

        with torch.enable_grad():
            query = query.detach().requires_grad_()
            key = key.detach().requires_grad_()
            value = value.detach().requires_grad_()
            attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)

        ctx.inputs = (query, key, value)
        ctx.attended = attended

        return attended.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the query, the key and the value."""
        query, key, value = inputs = ctx.saved_tensors
        if not (torch.is_grad_enabled() or functorch_active(grad)):
            found = torch.autograd.grad(ctx.attended, ctx.inputs, grad, retain_graph=True)
            return *found, None, None

        wanted = [each for each in inputs if each.requires_grad]
        with torch.enable_grad():
            attended = _plain(query, key, value, ctx.mask, ctx.causal)
            again = iter(torch.autograd.grad(attended, wanted, grad, create_graph=True))

        return (
            *(next(again) if each.requires_grad else None for each in inputs),
            None,
            None,
        )


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
) -> Tensor:
    scale = query.shape[-1] ** -0.5
    scores = scale * (query @ key.mT)

    if causal:
        every = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        mask = every.tril()

    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)

    return scores.softmax(-1) @ value
