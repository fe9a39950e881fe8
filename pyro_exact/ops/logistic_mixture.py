r"""The log-probability of discretised logistic mixtures, with a hand-written gradient.

.. math::
    \log p(x) = \log \sum_k \pi_k \prod_c \big(\sigma(p_{kc}) - \sigma(q_{kc})\big), \qquad
    p, q = \left(x_c \pm \tfrac12 - m_{kc}\right) \frac{2}{L - 1} e^{-s_{kc}}

for C channels and L levels, where the first interval reaches down to minus infinity and the last
interval up to infinity. Using levels scaled to :math:`v \in [-1, 1]`, the mean is :math:`\mu_{kc} +
\sum_{b < c} \tanh(\alpha_{kcb})\, v_b`; :math:`m_{kc}` is the same mean in levels.

`logistic_mixture_reference` is the plain formula, which autograd differentiates;
`logistic_mixture` computes the same, faster.

Shape (for both):
    - theta: (num_params, n), with K (1 + 2 C + C (C - 1) / 2) parameters: K logits of :math:`\pi`,
      (C, K) means :math:`\mu`, (C, K) log-scales s, and K slopes :math:`\alpha` for each pair of
      channels.
    - x: (C, n), levels; result: (n).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEAST_LOG_SCALE = -7.0  # as in the paper
MOST_LOG_SCALE = 60.0  # leaves every probability above zero in float32
FAR = 1e34  # the outer end of the first and last interval, in levels; times any rate it is finite
CHUNK = 2048  # sites whose parameters fit into the cache of a core


class MixtureSizes(NamedTuple):
    """The sizes of a mixture: channels C, levels L, components K."""

    channels: int
    levels: int
    components: int

    @property
    def parts(self) -> list[int]:
        """Counts of the logits, means, log-scales and slopes of a site."""
        pairs = math.comb(self.channels, 2)
        counts = (1, self.channels, self.channels, pairs)
        return [count * self.components for count in counts]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs b < c of channels, in the order of their slopes."""
        channels = range(self.channels)
        return [(b, c) for c in channels for b in range(c)]

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Return logits, means, log-scales and slopes: (num_params, n) -> (count, K, n)."""
        by_component = theta.view(-1, self.components, theta.shape[-1])
        counts = [size // self.components for size in self.parts]
        return by_component.split(counts)


def logistic_mixture(
    theta: Tensor,
    x: Tensor,
    sizes: MixtureSizes,
) -> Tensor:
    """Return the log-probability of each site; see the module for the formula and for shapes.

    It should be used for likelihoods. The gradient must not be differentiated again.
    """
    log_p: Tensor = LogisticMixture.apply(theta, x, sizes)
    return log_p


def logistic_mixture_reference(
    theta: Tensor,
    x: Tensor,
    sizes: MixtureSizes,
) -> Tensor:
    """Compute `logistic_mixture` by the plain formula."""
    logits, means, log_scales, slopes = sizes.split(theta)
    half = (sizes.levels - 1) / 2
    v = x / half - 1

    mean = list(means)
    for slope, (b, c) in zip(slopes, sizes.pairs, strict=True):
        shift = slope.tanh() * v[b]
        mean[c] = mean[c] + shift

    log_p = log_interval(torch.stack(mean), log_scales, x.unsqueeze(1), sizes.levels)

    # log sum of pi_k prod p_kc
    joint = logits[0].log_softmax(0) + log_p.sum(0)
    return joint.logsumexp(0)


def log_interval(
    mean: Tensor,
    log_scale: Tensor,
    level: Tensor,
    levels: int,
) -> Tensor:
    """Return the log-probability of levels under discretised logistics; the arguments broadcast.

    Args:
        mean: Means, where -1 is the first level and 1 the last.
        log_scale: Log-scales in the same unit.
        level: Levels 0, ..., levels - 1.
        levels: L.
    """
    half = (levels - 1) / 2

    # p, q = (x +- 1/2 - m) 2 / (L - 1) e^{-s}, with the mean m in levels
    m = (mean + 1) * half
    rate = (-log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)).exp() / half
    p = ((level + 0.5) - m) * rate
    q = ((level - 0.5) - m) * rate

    # log(sigmoid(p) - sigmoid(q)) = log sigmoid(p) + log sigmoid(-q) + log(1 - exp(q - p))
    below = F.logsigmoid(p)
    above = F.logsigmoid(-q)
    width = (-torch.expm1(-rate)).log()

    # The first interval reaches down to minus infinity, and the last up to infinity.
    log_p = below + above + width
    log_p = torch.where(level == 0, below, log_p)
    return torch.where(level == levels - 1, above, log_p)


@torch.no_grad()
def interval_probs(
    weight: Tensor,
    mean: Tensor,
    log_scale: Tensor,
    levels: int,
) -> Tensor:
    """Return the probabilities of all levels under mixtures of discretised logistics, (*, L).

    It is faster than `log_interval` of all levels, as exact far into the tails, and carries no
    gradient.

    Args:
        weight: Probability of each component, (*, K).
        mean: Means, where -1 is the first level and 1 the last, (*, K).
        log_scale: Log-scales in the same unit, (*, K).
        levels: L.
    """
    half = (levels - 1) / 2
    rate = (-log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)).exp() / half

    # The ends between two levels, on each logistic: (*, K, L - 1).
    ends = torch.arange(levels - 1, dtype=mean.dtype, device=mean.device) + 0.5
    p = (ends - ((mean + 1) * half).unsqueeze(-1)).mul_(rate.unsqueeze(-1))
    below = p.sigmoid()
    above = p.neg_().sigmoid_()

    # The first interval reaches down to minus infinity, and the last up to infinity.
    first = (below[..., 0] * weight).sum(-1, keepdim=True)
    last = (above[..., -1] * weight).sum(-1, keepdim=True)

    # sigmoid(p) - sigmoid(q) = sigmoid(p) sigmoid(-q) (1 - e^{q - p}), with equal p - q
    inside = weight * -torch.expm1(-rate)
    below[..., 1:].mul_(above[..., :-1])
    inner = (inside.unsqueeze(-2) @ below).squeeze(-2)[..., 1:]
    return torch.cat((first, inner, last), dim=-1)


class LogisticMixture(torch.autograd.Function):
    """The log-probabilities and the gradient.

    A site has a single output, so the gradient has the size of theta, and is computed together with
    the value, using the same exponentials. On a CPU this is done in chunks that fit into the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        theta: Tensor,
        x: Tensor,
        sizes: MixtureSizes,
    ) -> Tensor:
        """Return the log-probabilities."""
        n = x.shape[1]
        gradient = torch.empty_like(theta) if ctx.needs_input_grad[0] else None
        log_p = theta.new_empty(n)

        size = CHUNK if theta.device.type == "cpu" else max(1, n)
        for first in range(0, n, size):
            chunk = slice(first, first + size)
            part = None if gradient is None else gradient[:, chunk]
            log_p[chunk] = _evaluate(
                sizes,
                theta[:, chunk],
                x[:, chunk],
                part,
            )

        if gradient is not None:
            ctx.save_for_backward(gradient)

        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of theta."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None


class _Intervals(NamedTuple):
    """The ends p and q of the intervals on their logistics, (C, K, n) each."""

    p: Tensor
    q: Tensor
    width: Tensor  # p - q, without cancellation
    rate: Tensor  # derivative of p with respect to the level


def _evaluate(
    sizes: MixtureSizes,
    theta: Tensor,
    x: Tensor,
    gradient: Tensor | None,
) -> Tensor:
    """Return the log-probabilities of sites, and write their derivatives into ``gradient``."""
    logits, means, log_scales, slopes = sizes.split(theta)
    half = (sizes.levels - 1) / 2
    v = x * (1 / half) - 1
    slopes = slopes.tanh()

    # mean + 1 = mu + 1 + sum of tanh(alpha) v_b
    mean = means + 1
    for slope, (b, c) in zip(slopes, sizes.pairs, strict=True):
        mean[c].addcmul_(slope, v[b])

    at = _intervals(mean, log_scales, x, sizes.levels)

    t = (at.width / 2).tanh_()
    log_p = _log_interval(at, t)

    # log sum of pi_k p_k
    log_weight = logits[0].log_softmax(0)
    joint = log_p.sum(0).add_(log_weight)
    total = joint.logsumexp(0)
    if gradient is None:
        return total

    # The posterior share of each component; d logits = share - pi.
    share = joint.sub_(total).exp_()
    d_logits, d_means, d_log_scales, d_slopes = sizes.split(gradient)
    torch.sub(share, log_weight.exp_(), out=d_logits[0])

    _differentiate(at, t, log_scales, share, d_means, d_log_scales)
    d_means.mul_(half)  # from levels to [-1, 1]

    # d alpha = d mean_c v_b (1 - tanh(alpha)^2)
    pairs = zip(d_slopes, slopes, sizes.pairs, strict=True)
    for d_slope, slope, (b, c) in pairs:
        d_tanh = d_means[c] * v[b]
        torch.mul(d_tanh, 1 - slope.square(), out=d_slope)

    return total


def _intervals(
    mean: Tensor,
    log_scales: Tensor,
    x: Tensor,
    levels: int,
) -> _Intervals:
    """Return the intervals around the levels x, for means in [0, 2].

    The intervals are computed in levels, where the ends are exact, and where the upper end of an
    interval is the lower end of the next.
    """
    half = (levels - 1) / 2
    mean = mean.mul_(half)
    rate = log_scales.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)
    rate.neg_().exp_().div_(half)

    # The outer ends of the first and of the last interval lie far away.
    upper = (x + 0.5).masked_fill_(x == levels - 1, FAR)
    lower = (x - 0.5).masked_fill_(x == 0, -FAR)
    upper = upper.unsqueeze(1)
    lower = lower.unsqueeze(1)

    p = (upper - mean).mul_(rate)
    q = (lower - mean).mul_(rate)
    width = (upper - lower) * rate

    return _Intervals(p, q, width, rate)


def _log_interval(at: _Intervals, t: Tensor) -> Tensor:
    """Return log(sigmoid(p) - sigmoid(q)) = log(sigmoid(p) sigmoid(-q) (1 - e^-w)) for w = p - q.

    It uses the functions that torch computes fastest: log sigmoid(p) = min(p, 0) + log
    sigmoid(|p|), and 1 - e^-w = 2 t / (1 + t) with t = tanh(w / 2).
    """
    # log(sigmoid(|p|) sigmoid(|q|) 2 t / (1 + t))
    log_p = at.p.abs().sigmoid_()
    log_p.mul_(at.q.abs().sigmoid_())
    log_p.mul_(t).div_(t + 1).mul_(2)
    log_p.log_()

    # + min(p, 0) + min(-q, 0)
    log_p.add_(at.p.clamp(max=0))
    log_p.sub_(at.q.clamp(min=0))

    return log_p


def _differentiate(
    at: _Intervals,
    t: Tensor,
    log_scales: Tensor,
    share: Tensor,
    d_means: Tensor,
    d_log_scales: Tensor,
) -> None:
    """Write the derivatives of the log-probabilities by the means and by the log-scales."""
    above = at.p.neg().sigmoid_()
    below = at.q.sigmoid()

    # d log p / d mean = (sigmoid(q) - sigmoid(-p)) rate
    slope = (below - above).mul_(at.rate)
    torch.mul(slope, share, out=d_means)

    # d log p / d s = sigmoid(q) q - sigmoid(-p) p - w (1 - t) / (2 t), the last term from 1 - e^-w
    gain = (1 - t).mul_(at.width)
    gain.div_(t).div_(2)
    change = below.mul_(at.q)
    change.sub_(above.mul_(at.p))
    change.sub_(gain).mul_(share)

    # A clamped log-scale has no gradient.
    clamped = log_scales.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)
    torch.mul(change, clamped == log_scales, out=d_log_scales)
