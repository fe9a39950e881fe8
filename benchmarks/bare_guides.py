"""The floor of `bench_guides`: the arithmetic of our flows on plain tensors, without a module or a class."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from guides import Guide, Sizes
from harness import DEVICE
from torch import Tensor
from torch.nn import functional as F

BOUND = 3.0  # of the log-scales

Forward = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def bare(flow: str, mode: str, sizes: Sizes) -> Guide | None:
    """Return the formulas of a flow; there are none of the spline coupling."""
    if flow == "spline coupling":
        return None
    formulas = {
        "maf": autoregressive,
        "iaf": autoregressive,
        "affine coupling": coupling,
        "planar": planar,
    }
    weights, forward = formulas[flow](sizes)

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        z, ladj = forward(x, context)
        return normal(z) + ladj

    def rsample_and_log_prob(context: Tensor | None) -> tuple[Tensor, Tensor]:
        z = torch.randn(sizes.batch, sizes.dim, device=DEVICE)
        x, ladj = forward(z, context)
        return x, normal(z) - ladj

    return Guide(weights, log_prob, rsample_and_log_prob)


def normal(z: Tensor) -> Tensor:
    """Return the log-density of standard normal noise."""
    return -0.5 * z.square().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def network(widths: list[int]) -> list[Tensor]:
    """Return weights and biases of a multilayer perceptron."""
    tensors = []
    for below, above in pairwise(widths):
        tensors += [torch.randn(above, below) * below**-0.5, torch.zeros(above)]
    tensors[-2].zero_()
    return [tensor.to(DEVICE).requires_grad_() for tensor in tensors]


def with_context(x: Tensor, context: Tensor | None) -> Tensor:
    """Return the input of a network."""
    return x if context is None else torch.cat((context, x), dim=-1)


def affine(x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return x e^s + t with s = b tanh(r / b), and s."""
    shift, raw = theta.chunk(2, dim=-1)
    log_scale = BOUND * (raw / BOUND).tanh()
    return x * log_scale.exp() + shift, log_scale


def autoregressive(sizes: Sizes) -> tuple[list[Tensor], Forward]:
    """Masked layers whose order is reversed from one to the next."""
    length, _, dim, hidden, context = sizes._replace(context=sizes.context or 0)
    inputs = torch.cat((torch.zeros(context, dtype=torch.long), torch.arange(1, dim + 1)))
    least = 0 if context else 1
    units = least + torch.arange(hidden) * (dim - least) // hidden
    outputs = torch.arange(dim).repeat(2)
    degrees = [inputs, units, units, outputs]
    masks = [(b[:, None] >= a).float().to(DEVICE) for a, b in pairwise(degrees)]
    layers = [network([context + dim, hidden, hidden, 2 * dim]) for _ in range(length)]

    def forward(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        total: Tensor | float = 0.0
        for i, (w1, b1, w2, b2, w3, b3) in enumerate(layers):
            if i:
                x = x.flip(-1)
            h = F.linear(with_context(x, context), w1 * masks[0], b1).relu()
            h = F.linear(h, w2 * masks[1], b2).relu()
            x, log_scale = affine(x, F.linear(h, w3 * masks[2], b3))
            total = total + log_scale.sum(-1)
        return x, total

    return [tensor for layer in layers for tensor in layer], forward


def coupling(sizes: Sizes) -> tuple[list[Tensor], Forward]:
    """Affine couplings that exchange the halves."""
    length, _, dim, hidden, context = sizes._replace(context=sizes.context or 0)
    cut = dim // 2
    rest = dim - cut
    halves = [(cut, rest) if i % 2 == 0 else (rest, cut) for i in range(length)]
    layers = [network([context + fixed, hidden, hidden, 2 * free]) for fixed, free in halves]

    def forward(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        total: Tensor | float = 0.0
        a, b = x.split((cut, rest), dim=-1)
        for w1, b1, w2, b2, w3, b3 in layers:
            h = F.linear(F.linear(with_context(a, context), w1, b1).relu(), w2, b2).relu()
            b, log_scale = affine(b, F.linear(h, w3, b3))
            total = total + log_scale.sum(-1)
            a, b = b, a
        return torch.cat((a, b) if length % 2 == 0 else (b, a), dim=-1), total

    return [tensor for layer in layers for tensor in layer], forward


def planar(sizes: Sizes) -> tuple[list[Tensor], Forward]:
    """Planar maps, whose parameters are a linear function of the context if there is one."""
    length, dim = sizes.length, sizes.dim
    u, w = ((torch.rand(length, dim) * 2 - 1) * dim**-0.5 for _ in "uw")
    free = [tensor.to(DEVICE).requires_grad_() for tensor in (u, w, torch.zeros(length))]
    counts = [length * dim, length * dim, length]
    hypernet = network([sizes.context, sum(counts)]) if sizes.context else []

    def forward(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        u, w, b = free
        if context is not None:
            du, dw, db = F.linear(context, *hypernet).split(counts, dim=-1)
            u, w, b = u + du.unflatten(-1, u.shape), w + dw.unflatten(-1, w.shape), b + db
        product = (w * u).sum(-1, keepdim=True)
        m = F.softplus(product + math.log(math.e - 1)) - 1
        u = u + (m - product) * w / w.square().sum(-1, keepdim=True)
        heights = []
        for k in range(length):
            if context is None:
                h = torch.addmv(b[k], x, w[k]).tanh()
                x = torch.addr(x, h, u[k])
            else:
                h = ((x * w[:, k]).sum(-1) + b[:, k]).tanh()
                x = torch.addcmul(x, h.unsqueeze(-1), u[:, k])
            heights.append(h)
        slopes = 1 - torch.stack(heights, -1).square()
        return x, (1 + slopes * m.squeeze(-1)).log().sum(-1)

    return free + hypernet, forward
