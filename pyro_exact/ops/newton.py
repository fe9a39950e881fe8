"""The inverse of an increasing function, using a guarded Newton iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
    r"""Return the :math:`x` with :math:`f(x; p) = t`, and :math:`\log f'(x; p)`.

    Use it for the inverse of a formula; both results are differentiable.

    The root itself is found by `solve`, outside of the graph. The first and second derivatives in
    ``target``, in the parameters, and in any weight that the function holds, are exact: by the
    implicit function theorem, :math:`dx = (dt - \partial_p f\, dp) / f'`.

    Args:
        function: ``f(x, *parameters)``, which returns :math:`f` and :math:`\log f'` of each
            element. It must be increasing in ``x``.
        target: :math:`t`.
        parameters: Tensors with the first dimensions of ``target``.
        bracket: Lower and upper bound of the root, which may be infinite.
        start: The first guess.

    Shape:
        - target, bounds, start, returned tensors: any shape.
        - parameters: (\*shape of target, \*any).

    Example:
        >>> cube = lambda x: (x + x**3, (1 + 3 * x**2).log())
        >>> open_ends = torch.tensor([-math.inf]), torch.tensor([math.inf])
        >>> root(cube, torch.tensor([10.0]), (), open_ends, torch.zeros(1))[0]
        tensor([2.])
    """
    with torch.no_grad():
        x, log_slope = solve(function, target, parameters, bracket, start)

    if not torch.is_grad_enabled():
        return x, log_slope

    value, log_slope_at_root = function(x, *parameters)
    if not (value.requires_grad or target.requires_grad):
        return x, log_slope

    # At a root a Newton step moves nothing, but has the derivatives of the root: after a step those
    # of first order, after two steps those of second order, even if the slope is taken for a
    # constant. Where the function is flat to rounding, the limit keeps the derivatives finite.
    limit = torch.finfo(x.dtype).eps ** -4
    per_slope = (-log_slope).exp().clamp(max=limit)

    for _ in range(2):
        # x + (t - f(x)) / f', whose second term is 0 in value
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
    r"""Return the :math:`x` with :math:`f(x; p) = t`, and :math:`\log f'`, without derivatives.

    A Newton step is used when it stays within the bracket, and when the error has fallen to 0.3 of
    the error before. Otherwise the bracket is halved, or, where it is open, searched at distances
    that double. This is required because Newton's method alone reduces an error along an
    exponential only by a factor of e in a step.

    Elements whose root is found are left out as soon as they are half of the rest. The count is
    read from the device in each step, so `torch.func.vmap` cannot be used. When traced by
    ``torch.compile``, the count of steps is fixed.

    See `root` for the arguments.
    """
    compiling = torch.compiler.is_compiling()
    search = _new_search(
        target,
        parameters,
        bracket,
        start,
    )
    found = search.x.clone()
    found_log_slope = search.x.clone()
    rest = torch.arange(len(found), device=found.device)

    for _ in range(MAX_STEPS):
        search, done, log_slope = _step(function, search)

        if compiling:
            continue

        if 2 * int(done.sum()) >= len(done):
            found[rest] = search.x
            found_log_slope[rest] = log_slope
            keep = (~done).nonzero().squeeze(-1)
            if not len(keep):
                break

            rest = rest[keep]
            log_slope = log_slope[keep]
            search = search.kept(keep)

    found[rest] = search.x
    found_log_slope[rest] = log_slope
    found = found.view(target.shape)
    found_log_slope = found_log_slope.view(target.shape)

    unknown = target.isnan() | found_log_slope.isnan()
    found = torch.where(unknown, math.nan, found)

    return found, found_log_slope


class _Search(NamedTuple):
    """The elements whose root is still searched.

    Attributes:
        x: The present guess.
        target: The value that the function must take.
        low: Lower bound of the root.
        high: Upper bound of the root.
        last: Absolute error of the guess before.
        parts: Parameters of the function.
    """

    x: Tensor
    target: Tensor
    low: Tensor
    high: Tensor
    last: Tensor
    parts: tuple[Tensor, ...]

    def kept(self, index: Tensor) -> _Search:
        """Return the search of some of the elements."""
        return _Search(
            self.x[index],
            self.target[index],
            self.low[index],
            self.high[index],
            self.last[index],
            tuple(part[index] for part in self.parts),
        )


def _new_search(
    target: Tensor,
    parameters: Sequence[Tensor],
    bracket: tuple[Tensor, Tensor],
    start: Tensor,
) -> _Search:
    """Return the search of all elements, in a single dimension."""
    low, high = bracket
    x = start.reshape(-1)
    parts = tuple(
        part.reshape(
            target.numel(),
            *part.shape[target.dim() :],
        )
        for part in parameters
    )

    return _Search(
        x,
        target=target.reshape(-1),
        low=low.reshape(-1),
        high=high.reshape(-1),
        last=torch.full_like(x, math.inf),
        parts=parts,
    )


def _step(function: Function, search: _Search) -> tuple[_Search, Tensor, Tensor]:
    """Return the search after a step, which elements are at the root, and the log-slope before."""
    x, target, low, high, last, parts = search
    eps = 8 * torch.finfo(x.dtype).eps

    value, log_slope = function(x, *parts)
    slope = log_slope.exp()
    error = value - target
    size = error.abs()

    # The guess is a new bound of the root.
    low = torch.where(error < 0, x, low)
    high = torch.where(error > 0, x, high)

    # An element is done when the error, or the bracket, is within rounding.
    scale = 1 + target.abs() + x.abs() * slope
    rounding = eps * scale
    done = (size <= rounding) & rounding.isfinite()
    done |= high - low <= eps * x.abs()

    # x - (f(x) - t) / f'(x), within the bracket; where that is open, a step may go this far.
    newton = x - error / slope
    far = 100 * (1 + x.abs())
    least = low.where(low.isfinite(), x - far)
    most = high.where(high.isfinite(), x + far)

    within = (newton >= least) & (newton <= most)
    good = within & (size <= 0.3 * last)
    following = torch.where(good, newton, _middle(low, high))
    following = torch.where(done, x, following)

    after = _Search(
        following,
        target,
        low,
        high,
        size,
        parts,
    )

    return after, done, log_slope


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """Return the middle of a bracket, or a point beyond the only end, twice as far from 0."""
    above = low + low.abs() + 1
    below = high - high.abs() - 1
    open_low = low.isinf()
    open_high = high.isinf()

    middle = low / 2 + high / 2
    middle = torch.where(open_high, above, middle)
    middle = torch.where(open_low, below, middle)

    return torch.where(open_low & open_high, 0.0, middle)
