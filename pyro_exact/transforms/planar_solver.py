r"""The scalar equation of the inverse of planar and Sylvester flows.

The equation is :math:`a + c \tanh a = t` with c > -1.

In this module ``stretch`` is :math:`s = 1 + c > 0`, the slope of the left side at 0, which is exact
even when :math:`c` rounds to -1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def derivative(a: Tensor, tanh: Tensor, stretch: Tensor) -> Tensor:
    r"""Return :math:`1 + c / \cosh^2 a = \tanh^2 a + s / \cosh^2 a`.

    This is a sum of positive terms, so nothing cancels.

    Args:
        a: Any tensor.
        tanh: ``a.tanh()``.
        stretch: :math:`s`, of a shape that broadcasts with ``a``.
    """
    # 1 / cosh^2 a = 4 t (1 - t) with t = sigmoid(-2 |a|); 1 - tanh^2 would lose the tail
    tail = torch.sigmoid(-2 * a.abs())
    quarter = torch.addcmul(tail, tail, tail, value=-1)

    # tanh^2 a + s / cosh^2 a
    return torch.addcmul(tanh.square(), stretch, quarter, value=4)


def solve(stretch: Tensor, target: Tensor) -> Tensor:
    r"""Return the :math:`a` with :math:`a + (s - 1) \tanh a = t`, to rounding.

    The error is at most eight times the change of :math:`a` when :math:`a`, :math:`s` and :math:`t`
    are rounded. This holds for any stretch, however near to zero: the left side is computed as
    :math:`(a - \tanh a) + s \tanh a`, a sum of terms of the same sign.

    The last two Newton steps are part of the graph. From a root the first makes the derivatives in
    ``stretch`` and ``target`` exact to first order, the second to third.

    Args:
        stretch: :math:`s`; it must be positive.
        target: :math:`t`, of a shape that broadcasts with ``stretch``.
    """
    with torch.no_grad():
        size = target.abs()
        a = _start(stretch, size)

        # Rounding must not leave this bracket.
        low = a / 2
        high = 2 * a
        for _ in range(4):
            a = _newton(a, stretch, size)
            a = a.clamp(low, high)

        a = a * target.sign()

    for _ in range(2):
        a = _newton(a, stretch, target)

    return a


def _newton(a: Tensor, stretch: Tensor, target: Tensor) -> Tensor:
    tanh = a.tanh()

    # (a - tanh a) + s tanh a = t
    left = torch.addcmul(_excess(a, tanh), stretch, tanh)
    residual = left - target

    # The gradient of torch.addcdiv would square a slope that may be tiny.
    return a - residual / derivative(a, tanh, stretch)


def _excess(a: Tensor, tanh: Tensor) -> Tensor:
    r"""Return :math:`a - \tanh a`, which is about :math:`a^3 / 3` when ``a`` is small.

    From the continued fraction of tanh, :math:`a / (1 + a^2 / (3 + a^2 / (5 + \dots)))`, follows

    .. math:: a - \tanh a = \frac{a^3}{3 + a^2 + a^2 / (5 + a^2 / (7 + \dots))}

    in which nothing cancels. Up to 1, five levels are exact to 2e-9 and eight to 1e-16; from there
    on the difference loses two bits.
    """
    levels = 5 if a.dtype == torch.float32 else 8
    small = a.clamp(-1, 1)
    square = small.square()

    # 5 + a^2 / (7 + a^2 / (9 + ...)), from the last level up
    last = 2 * levels + 1
    tail: Tensor = square / last + (last - 2)
    for odd in range(last - 4, 4, -2):
        tail = square / tail + odd

    # a^3 / (3 + a^2 + a^2 / tail)
    cube = small * square
    fraction = cube / (square / tail + square + 3)

    return torch.where(a.abs() < 1, fraction, a - tanh)


# Why four steps and two are enough. Let t >= 0; the left side is odd. Newton's steps are monotone
# if they start on the right side of the root, and few if they start near it. `_start` does both: it
# lies within a factor of two of the root for every s and t, from where five steps reach it to
# rounding (a test scans both ranges).
#
# c < 0: the left side is convex for a > 0, so start above the root. Each of three facts bounds it
# from above:
#   tanh a <= 1                              a <= t - c
#   tanh a <= a                              a <= t / s
#   a - tanh a >= 5 a^3 / (15 + 6 a^2)       a <= (3 q)^(1/3) + 6 q / 5,  q = -t / c
# The third is a convergent of the continued fraction of tanh.
#
# c > 0: it is concave, so start below the root. The first two facts now give t - c and t / s as
# lower bounds; the third comes from tanh a = (t - a) / c >= (t - b) / c for any upper bound b, that
# is a >= atanh((t - b) / c). For b let d = max(t - c, 0) and a = d + x. Then x <= a - (t - c) = c
# (1 - tanh a) <= 2 c exp(-2 d - 2 x), so that 2 x is at most Lambert's W(4 c exp(-2 d)), and W(z)
# <= log(1 + z).
def _start(stretch: Tensor, target: Tensor) -> Tensor:
    tiny = torch.finfo(target.dtype).tiny
    c = stretch - 1
    s = stretch
    t = target

    # c < 0: the least of t - c, t / s and (3 q)^(1/3) + 6 q / 5 with q = -t / c
    q = t / (-c).clamp_min(tiny)
    above = torch.minimum(t - c, t / s)
    above = torch.minimum(above, (3 * q).pow(1 / 3) + 1.2 * q)

    # c > 0: the upper bound b = d + log(1 + 4 c exp(-2 d)) / 2 with d = max(t - c, 0)
    positive = c.clamp_min(tiny)
    d = (t - positive).clamp_min(0)
    z = 4 * positive * (-2 * d).exp()
    b = torch.minimum(d + torch.log1p(z) / 2, t)

    # the largest of t / s, d and atanh((t - b) / c) = log((c + t - b) / (c - t + b)) / 2
    numerator = positive + t - b
    denominator = (positive - t + b).clamp_min(tiny)
    third = (numerator / denominator).log() / 2
    below = torch.maximum(t / s, d)
    below = torch.maximum(below, torch.minimum(third, b))

    return torch.where(c < 0, above, below)
