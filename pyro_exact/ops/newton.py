"""The inverse of an increasing function: a guarded Newton iteration, with derivatives of the root."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, Tensor]]

MAX_STEPS = 100  # mostly 3 to 7 are taken; a bisection to the precision of float64 takes about 60


def root(
    function: Function,
    target: Tensor,
    parameters: Sequence[Tensor],
    bracket: tuple[Tensor, Tensor],
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Return the :math:`x` with :math:`f(x; p) = t`, and :math:`\log f'(x; p)`, both differentiable.

    The root itself is found by `solve`, outside of the graph. The first and second derivatives in
    ``target``, in the parameters, and in any weight that the function holds, are exact: by the
    implicit function theorem, :math:`dx = (dt - \partial_p f\, dp) / f'`.

    Args:
        function: ``f(x, *parameters)``, which returns :math:`f` and :math:`\log f'` of each
            element. It must be increasing in ``x``.
        target: :math:`t`.
        parameters: Tensors with the first dimensions of ``target``.
        bracket: Lower and upper bound of the root; infinite where none is known.
        start: The first guess.

    Shape:
        - target, bounds, start, returned tensors: any one shape.
        - parameters: (\*shape of target, \*any).

    Example:
        >>> cube = lambda x: (x + x**3, (1 + 3 * x**2).log())
        >>> open_ends = torch.tensor([-math.inf]), torch.tensor([math.inf])
        >>> root(cube, torch.tensor([10.0]), (), open_ends, torch.zeros(1))[0]
        tensor([2.])
    """
    with torch.no_grad():
        x, log_slope = solve(function, target, parameters, bracket, start)

    value, log_slope_at_root = function(x, *parameters) if torch.is_grad_enabled() else (x, x)
    if not (value.requires_grad or target.requires_grad):
        return x, log_slope

    # At a root a Newton step moves nothing, but has the derivatives of the root: after a step those
    # of first order, after two steps those of second order, even if the slope is taken for a constant.
    # Where the function is flat to rounding, the limit keeps the derivatives finite.
    limit = torch.finfo(x.dtype).eps ** -4
    per_slope = (-log_slope).exp().clamp(max=limit)

    for _ in range(2):
        step = (target - value) * per_slope
        x = x + (step - step.detach())
        value, log_slope_at_root = function(x, *parameters)

    return x, log_slope_at_root


def solve(
    function: Function,
    target: Tensor,
    parameters: Sequence[Tensor],
    bracket: tuple[Tensor, Tensor],
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Return the :math:`x` with :math:`f(x; p) = t`, to rounding, and :math:`\log f'` there, without derivatives.

    A Newton step is taken if it stays within the bracket, and if the error has fallen to 0.3 of the
    error before. Otherwise the bracket is halved, or, where it is open, searched at distances that
    double. (Newton's method alone reduces an error along an exponential only by a factor of e in a
    step.)

    Elements whose root is found are left out as soon as they are half of the rest. For this a GPU
    is asked once a step how many there are, so `torch.func.vmap` does not apply. Traced by
    ``torch.compile``, the number of steps is fixed.

    See `root` for the arguments.
    """
    wanted = target
    target = wanted.reshape(-1)
    x = start.reshape(-1)
    low, high = (bound.reshape(-1) for bound in bracket)
    parts = [part.reshape(len(x), *part.shape[wanted.dim() :]) for part in parameters]

    last = torch.full_like(x, math.inf)
    found = x.clone()
    found_log_slope = x.clone()
    rest = torch.arange(len(x), device=x.device)

    for _ in range(MAX_STEPS):
        value, log_slope = function(x, *parts)
        slope = log_slope.exp()
        error = value - target
        low = torch.where(error < 0, x, low)
        high = torch.where(error > 0, x, high)

        done = _is_found(x, target, error, slope, low, high)
        falling = error.abs() <= 0.3 * last
        step = _step(x, error / slope, falling, low, high)

        x = torch.where(done, x, step)
        last = error.abs()

        if not torch.compiler.is_compiling() and 2 * int(done.sum()) >= len(done):
            found[rest] = x
            found_log_slope[rest] = log_slope
            keep = (~done).nonzero().squeeze(-1)
            if not len(keep):
                break
            state = rest, x, log_slope, target, low, high, last, *parts
            rest, x, log_slope, target, low, high, last, *parts = (part[keep] for part in state)

    found[rest] = x
    found_log_slope[rest] = log_slope

    unknown = wanted.reshape(-1).isnan() | found_log_slope.isnan()
    root = torch.where(unknown, math.nan, found)
    return root.view_as(wanted), found_log_slope.view_as(wanted)


def _is_found(
    x: Tensor, target: Tensor, error: Tensor, slope: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Return whether the error is that of rounding, or the bracket is as narrow."""
    eps = 8 * torch.finfo(x.dtype).eps
    rounding = eps * (1 + target.abs() + x.abs() * slope)
    exact = (error.abs() <= rounding) & rounding.isfinite()
    return exact | (high - low <= eps * x.abs())


def _step(x: Tensor, correction: Tensor, falling: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return Newton's next x where the error is falling and the step stays within reach, else the middle."""
    newton = x - correction

    # Where the bracket is open a step may not go too far.
    far = 100 * (1 + x.abs())
    least = torch.where(low.isfinite(), low, x - far)
    most = torch.where(high.isfinite(), high, x + far)

    good = falling & (newton >= least) & (newton <= most)
    return torch.where(good, newton, _middle(low, high))


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """Return the middle of a bracket, or a point beyond the only end, twice as far from 0."""
    middle = low / 2 + high / 2
    middle = torch.where(high.isinf(), low + low.abs() + 1, middle)
    middle = torch.where(low.isinf(), high - high.abs() - 1, middle)
    return torch.where(low.isinf() & high.isinf(), 0.0, middle)
