"""Singular values of the Jacobian of a layer, which measure stretching and shrinking."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.transforms import Bijection

EXACT_DIM = 64  # elements of an event, up to which the whole Jacobian is computed
POWER_STEPS = 12  # of the power iteration, for larger events


class Stretch(NamedTuple):
    """Logarithms of the smallest and the largest singular value of a Jacobian, over some data.

    Attributes:
        least: Logarithm of the smallest singular value.
        greatest: Logarithm of the largest singular value.
        condition: Largest ratio of the two for a datum.
        exact: True if this is computed using the whole Jacobian. An estimate via power iteration
            lies between the true values, so the true condition number is larger.
    """

    least: float
    greatest: float
    condition: float
    exact: bool


def stretch(
    layer: Bijection,
    x: Tensor,
    context: Tensor | None,
    seed: int = 0,
) -> Stretch | None:
    """Return the singular values of the Jacobian of a layer at some inputs, in nats.

    Args:
        layer: The layer.
        x: Inputs of shape (N, *event).
        context: The context of the layer, if it takes a context.
        seed: Seed of the first vectors of the power iteration.

    Returns:
        `None` where a Jacobian is not finite.
    """
    exact = prod(x.shape[1:]) <= EXACT_DIM
    if exact:
        jacobian = _jacobian(layer, x, context)
        if not bool(jacobian.isfinite().all()):
            return None
        values = torch.linalg.svdvals(jacobian)
        least = values[:, -1].log()
        greatest = values[:, 0].log()
    else:
        # The largest singular value of the inverse is 1 / the smallest one of the layer.
        y = layer.forward_and_ladj(x, context)[0].detach()
        greatest = _log_norm(layer, x, context, seed)
        least = -_log_norm(layer.inv, y, context, seed)

    ratio = greatest - least
    if not bool(ratio.isfinite().all()):
        return None
    return Stretch(
        least=least.min().item(),
        greatest=greatest.max().item(),
        condition=ratio.exp().max().item(),
        exact=exact,
    )


def _jacobian(layer: Bijection, x: Tensor, context: Tensor | None) -> Tensor:
    """Return the Jacobian at each input, (N, D, D), row by row."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y, _ = layer.forward_and_ladj(x, context)

        rows = []
        for element in y.flatten(1).unbind(1):
            (row,) = torch.autograd.grad(element.sum(), x, retain_graph=True)
            rows.append(row.flatten(1))

    return torch.stack(rows, dim=1)


def _log_norm(layer: Bijection, x: Tensor, context: Tensor | None, seed: int) -> Tensor:
    """Return the log of the largest singular value at each input, via power iteration."""

    def value(x: Tensor) -> Tensor:
        return layer.forward_and_ladj(x, context)[0]

    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    v = v.to(x.device)
    log_square = x.new_zeros(len(x))

    for _ in range(POWER_STEPS):
        length = _norm(v).view(-1, *[1] * (v.dim() - 1))
        v = v / length

        # J v, and then J^T (J v)
        with torch.no_grad():
            product = torch.func.jvp(value, (x,), (v,))[1]
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (v,) = torch.autograd.grad(value(point), point, product)
        log_square = _norm(v).log()

    return log_square / 2


def _norm(v: Tensor) -> Tensor:
    """Return the length of the vector of each datum."""
    return v.flatten(1).norm(dim=1)
