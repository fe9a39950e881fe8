"""The likelihood of a pixel as a mixture of logistics, each of them cut at the levels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import constraints

from pyro_exact.checks import check_size
from pyro_exact.likelihoods.likelihood import Likelihood

LOG_SCALES = (
    -7.0,
    60.0,
)  # the least as in the paper; the greatest leaves every probability above zero in float32
FAR = 1e34  # the outer end of the first and the last interval, in levels; times the greatest rate it is finite
MOST_CHANNELS = 256  # every pair of them has parameters
CHUNK = 2048  # pixels whose numbers fit into the cache of a core


class DiscretizedLogisticMixture(Likelihood):
    r"""A pixel whose channels are logistics cut into intervals around the levels, mixed over the whole pixel.

    .. math::
        \log p(x) = \log \sum_k \pi_k \prod_c \big(\sigma(p_{kc}) - \sigma(q_{kc})\big), \qquad
        p, q = \left(x_c \pm \tfrac12 - m_{kc}\right) \frac{2}{L - 1} e^{-s_{kc}}

    The first interval reaches down to minus infinity and the last one up to infinity, so the
    probabilities of the L levels sum to one. With pixels scaled to :math:`v \in [-1, 1]`, the mean
    is :math:`\mu_{kc} + \sum_{b < c} \tanh(\alpha_{kcb})\, v_b`, a function of the channels before;
    :math:`m_{kc}` is that in levels. The mixture is of pixels, not of channels. The probability of
    an interval is exact far into the tails:

    .. math:: \log(\sigma(p) - \sigma(q)) = \log \sigma(p) + \log \sigma(-q) + \log(1 - e^{q - p})

    A draw is rounded to its level at once, and the next channel is drawn given the rounded one: it
    has the probabilities above. The gradient is computed along with the value, and only once
    differentiable.

    Args:
        channels: C, 3 for colours (R, then G, then B) or 1.
        levels: L, the number of levels.
        components: K, the number of logistics.

    Shape:
        - theta: (\*sites, K (1 + 2 C + C (C - 1) / 2)): K logits of :math:`\pi`, then (C, K)
          numbers :math:`\mu`, then (C, K) log-scales s, kept above -7, then for each pair of
          channels K numbers :math:`\alpha`.
        - x: (\*sites, C).

    Raises:
        ValueError: If there is no channel or component, or only one level.

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, sections 2.1 and 2.2.

    Example:
        >>> likelihood, levels = DiscretizedLogisticMixture(1, 4, 2), torch.arange(4.0)[:, None]
        >>> mass = likelihood.log_prob(torch.randn(6).expand(4, 6), levels).exp().sum()
        >>> torch.isclose(mass, torch.tensor(1.0))
        tensor(True)
    """

    levels: int

    def __init__(self, channels: int = 3, levels: int = 256, components: int = 10) -> None:
        name = "DiscretizedLogisticMixture"
        self.channels = channels = check_size(name, "channels", channels, most=MOST_CHANNELS)
        self.levels = levels = check_size(name, "levels", levels, least=2)
        self.components = components = check_size(name, "components", components)
        self.sizes = [k * components for k in (1, channels, channels, math.comb(channels, 2))]
        self.pairs = [(b, c) for c in range(channels) for b in range(c)]
        self.num_params = sum(self.sizes)
        self.num_noise = 1 + channels
        self.site_shape = (channels,)
        self.support = constraints.integer_interval(0, levels - 1)
        self.values = f"integers 0, ..., {levels - 1}"

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        dtype = torch.promote_types(
            x.dtype, torch.float32
        )  # half precision has no room for the outer intervals
        theta, x = theta.to(dtype), x.to(dtype)
        rows = theta.movedim(-1, 0).reshape(self.num_params, -1)
        log_p: Tensor = LogProb.apply(rows, x.movedim(-1, 0).reshape(self.channels, -1), self)
        return log_p.view(x.shape[:-1])

    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        logits, *rest = theta.to(noise.dtype).split(self.sizes, dim=-1)
        cumulative = logits.softmax(-1).cumsum(-1)
        below = cumulative[..., :-1]
        component = (noise[..., :1] >= below).sum(-1, keepdim=True)
        mean, log_scale, slope = (self._of(component, part) for part in rest)
        spread = log_scale.clamp(*LOG_SCALES).exp() * noise[..., 1:].logit()
        drawn: list[Tensor] = []
        half = (self.levels - 1) / 2
        for c in range(self.channels):
            value = mean[..., c] + spread[..., c]
            for b, earlier in enumerate(drawn):
                value = value + slope[..., c * (c - 1) // 2 + b].tanh() * (earlier / half - 1)
            drawn.append(((value + 1) * half + 0.5).floor().clamp(0, self.levels - 1))
        return torch.stack(drawn, dim=-1).add(cumulative[..., -1:], alpha=0)  # NaN stays NaN

    def marginal(self, x: Tensor) -> Tensor:
        """Return components at the quantiles of the data, all of one width, and no slopes."""
        scaled = x * (2 / (self.levels - 1)) - 1
        places = (torch.arange(self.components).to(x) + 0.5) / self.components
        means = scaled.quantile(places, dim=0).movedim(0, -1)
        least = math.exp(LOG_SCALES[0])
        width = scaled.std(0, correction=0).clamp_min(least) * (math.sqrt(3) / math.pi)
        log_scales = width.log().unsqueeze(-1).expand_as(means)
        logits, slopes = (x.new_zeros(*x.shape[1:-1], self.sizes[i]) for i in (0, 3))
        return torch.cat((logits, means.flatten(-2), log_scales.flatten(-2), slopes), dim=-1)

    def by_component(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Return logits, means, log-scales and slopes, (num_params, n) -> (numbers, components, n)."""
        numbers = theta.view(-1, self.components, theta.shape[-1])
        return numbers.split([size // self.components for size in self.sizes])

    def _of(self, component: Tensor, part: Tensor) -> Tensor:
        """Return what one component of each site has for every channel, or for every pair of them."""
        by_component = part.unflatten(-1, (-1, self.components))
        index = component.unsqueeze(-1).expand(*by_component.shape[:-1], 1)
        return by_component.gather(-1, index).squeeze(-1)


class LogProb(torch.autograd.Function):
    """The log-probabilities of a row of sites, (num_params, n), (channels, n) -> (n).

    Each site has one number out, so that its gradient is as large as theta, which need not be kept
    then: it is made with the value, from the same exponentials. On a CPU both are made for a piece
    that fits into
    the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, x: Tensor, likelihood: DiscretizedLogisticMixture
    ) -> Tensor:
        """Return the log-probabilities."""
        gradient = torch.empty_like(theta) if ctx.needs_input_grad[0] else None
        log_p, n = theta.new_empty(x.shape[1]), x.shape[1]
        size = CHUNK if theta.device.type == "cpu" else max(1, n)
        for first in range(0, n, size):
            piece = slice(first, first + size)
            log_p[piece] = evaluate(
                likelihood,
                theta[:, piece],
                x[:, piece],
                None if gradient is None else gradient[:, piece],
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


class Intervals(NamedTuple):
    """The ends p and q of the intervals on their logistics, (channels, components, n) each."""

    p: Tensor
    q: Tensor
    width: Tensor  # p - q, which does not cancel
    rate: Tensor  # of p with the level


def evaluate(
    likelihood: DiscretizedLogisticMixture, theta: Tensor, x: Tensor, gradient: Tensor | None
) -> Tensor:
    r"""Return the log-probabilities of sites, and write their derivatives into ``gradient``.

    Of what is equal, torch computes the sigmoid and the tangent fastest: :math:`\log \sigma(p) =
    \min(p, 0) + \log \sigma(|p|)`, and with :math:`t = \tanh(w / 2)`, :math:`1 - e^{-w} = 2 t / (1
    + t)`.
    """
    logits, means, log_scales, slopes = likelihood.by_component(theta)
    scaled, slopes = x * (2 / (likelihood.levels - 1)) - 1, slopes.tanh()
    mean = means + 1
    for slope, (b, c) in zip(slopes, likelihood.pairs, strict=True):
        mean[c].addcmul_(slope, scaled[b])
    at = intervals(mean, log_scales, x, likelihood.levels)
    t = (at.width / 2).tanh_()
    log_p = at.p.abs().sigmoid_().mul_(at.q.abs().sigmoid_()).mul_(t).div_(t + 1).mul_(2).log_()
    log_weight = logits[0].log_softmax(0)
    joint = log_p.add_(at.p.clamp(max=0)).sub_(at.q.clamp(min=0)).sum(0).add_(log_weight)
    total = joint.logsumexp(0)
    if gradient is not None:
        share = joint.sub_(total).exp_()
        d_logits, d_means, d_log_scales, d_slopes = likelihood.by_component(gradient)
        torch.sub(share, log_weight.exp_(), out=d_logits[0])
        differentiate(at, t, log_scales, share, d_means, d_log_scales)
        d_means.mul_((likelihood.levels - 1) / 2)
        for d_slope, slope, (b, c) in zip(d_slopes, slopes, likelihood.pairs, strict=True):
            torch.mul(d_means[c] * scaled[b], 1 - slope.square(), out=d_slope)
    return total


def intervals(mean: Tensor, log_scales: Tensor, x: Tensor, levels: int) -> Intervals:
    """Return the intervals around the levels x, for means in [0, 2].

    They are taken in levels, where their ends are exact, and the upper end of one is the lower end
    of the next.
    """
    half = (levels - 1) / 2
    mean, rate = mean.mul_(half), log_scales.clamp(*LOG_SCALES).neg_().exp_().div_(half)
    upper = (x + 0.5).masked_fill_(x == levels - 1, FAR).unsqueeze(1)
    lower = (x - 0.5).masked_fill_(x == 0, -FAR).unsqueeze(1)
    return Intervals(
        (upper - mean).mul_(rate), (lower - mean).mul_(rate), (upper - lower) * rate, rate
    )


def differentiate(
    at: Intervals,
    t: Tensor,
    log_scales: Tensor,
    share: Tensor,
    d_means: Tensor,
    d_log_scales: Tensor,
) -> None:
    """Write the derivatives of the log-probabilities in the means, in levels, and in the scales."""
    above, below = at.p.neg().sigmoid_(), at.q.sigmoid()
    torch.mul((below - above).mul_(at.rate), share, out=d_means)
    gain = (
        (1 - t).mul_(at.width).div_(t).div_(2)
    )  # of the factor 1 - e^-w, as the interval w widens
    change = below.mul_(at.q).sub_(above.mul_(at.p)).sub_(gain).mul_(share)
    torch.mul(change, log_scales.clamp(*LOG_SCALES) == log_scales, out=d_log_scales)
