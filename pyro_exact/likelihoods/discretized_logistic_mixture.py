"""The likelihood of a pixel as a mixture of discretised logistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_size
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.ops.logistic_mixture import (
    LEAST_LOG_SCALE,
    MOST_LOG_SCALE,
    MixtureSizes,
    interval_probs,
    log_interval,
    logistic_mixture,
)

MOST_CHANNELS = 256  # every pair of channels has parameters


class DiscretizedLogisticMixture(Likelihood):
    r"""A mixture of discretised logistics over a pixel with all channels. Use it for images.

    .. math::
        \log p(x) = \log \sum_k \pi_k \prod_c \big(\sigma(p_{kc}) - \sigma(q_{kc})\big), \qquad
        p, q = \left(x_c \pm \tfrac12 - m_{kc}\right) \frac{2}{L - 1} e^{-s_{kc}}

    The first interval reaches down to minus infinity and the last interval up to infinity, so that
    the probabilities of the L levels sum to 1. With pixels scaled to :math:`v \in [-1, 1]`, the
    mean is :math:`\mu_{kc} + \sum_{b < c} \tanh(\alpha_{kcb})\, v_b`, a function of earlier
    channels; :math:`m_{kc}` is the corresponding mean in levels. The components are mixed for whole
    pixels, not for single channels. The probability of an interval is exact far into the tails:

    .. math:: \log(\sigma(p) - \sigma(q)) = \log \sigma(p) + \log \sigma(-q) + \log(1 - e^{q - p})

    A draw is rounded to a level at once, and the next channel is drawn using the rounded value, so
    that draws have exactly these probabilities. The gradient is computed together with the value,
    and cannot be differentiated again.

    Args:
        channels: C, 3 for colours (R, then G, then B) or 1.
        levels: L, the levels of a channel.
        components: K, the logistics of the mixture.

    Shape:
        - theta: (\*sites, K (1 + 2 C + C (C - 1) / 2)): K logits of :math:`\pi`, (C, K) means
          :math:`\mu`, (C, K) log-scales s, which are kept above -7, and K slopes :math:`\alpha` for
          each pair of channels.
        - x: (\*sites, C).

    Raises:
        ValueError: If there is no channel or component, or only a single level.

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, sections 2.1 and 2.2.

    Example:
        >>> likelihood, levels = DiscretizedLogisticMixture(1, 4, 2), torch.arange(4.0)[:, None]
        >>> mass = likelihood.log_prob(torch.randn(6).expand(4, 6), levels).exp().sum()
        >>> torch.isclose(mass, torch.tensor(1.0))
        tensor(True)
    """

    levels: int

    def __init__(
        self,
        channels: int = 3,
        levels: int = 256,
        components: int = 10,
    ) -> None:
        name = "DiscretizedLogisticMixture"
        self.channels = channels = check_size(name, "channels", channels, most=MOST_CHANNELS)
        self.levels = levels = check_size(name, "levels", levels, least=2)
        self.components = components = check_size(name, "components", components)

        self.sizes = MixtureSizes(channels, levels, components)
        self.num_params = sum(self.sizes.parts)
        self.num_noise = 1 + channels  # for the component, and for each channel
        self.site_shape = (channels,)
        self.support = constraints.integer_interval(0, levels - 1)
        self.values = f"integers 0, ..., {levels - 1}"

    def log_prob(
        self,
        theta: Tensor,
        x: Tensor,
    ) -> Tensor:
        # Half precision has no room for the outer intervals.
        dtype = torch.promote_types(x.dtype, torch.float32)
        by_param = theta.to(dtype).movedim(-1, 0).reshape(self.num_params, -1)
        by_channel = x.to(dtype).movedim(-1, 0).reshape(self.channels, -1)
        return logistic_mixture(by_param, by_channel, self.sizes).view(x.shape[:-1])

    def draw(
        self,
        theta: Tensor,
        noise: Tensor,
    ) -> Tensor:
        logits, *rest = theta.to(noise.dtype).split(self.sizes.parts, dim=-1)

        # The component, by the inverse of the cumulative probabilities.
        cumulative = logits.softmax(-1).cumsum(-1)
        component = (noise[..., :1] >= cumulative[..., :-1]).sum(-1, keepdim=True)
        mean, log_scale, slope = (self._of_component(component, part) for part in rest)

        # A logistic draw is mean + scale * logit(noise).
        scale = log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE).exp()
        deviation = scale * noise[..., 1:].logit()

        drawn: list[Tensor] = []
        half = (self.levels - 1) / 2
        for c in range(self.channels):
            value = mean[..., c] + deviation[..., c]
            for b, earlier in enumerate(drawn):
                alpha = slope[..., c * (c - 1) // 2 + b]
                value = value + alpha.tanh() * (earlier / half - 1)

            # From [-1, 1] to the nearest level.
            level = ((value + 1) * half + 0.5).floor().clamp(0, self.levels - 1)
            drawn.append(level)
        return torch.stack(drawn, dim=-1).add(cumulative[..., -1:], alpha=0)  # NaN stays NaN

    def level_probs(
        self,
        theta: Tensor,
        earlier: Tensor,
    ) -> Tensor:
        c = earlier.shape[-1]
        _, means, log_scales, slopes = self._by_component(theta)
        v = earlier.to(theta.dtype) * (2 / (self.levels - 1)) - 1

        # mean_c = mu_c + sum_{b < c} tanh(alpha_cb) v_b
        first = c * (c - 1) // 2
        slope = slopes[..., first : first + c, :].tanh()
        mean = means[..., c, :] + (slope * v.unsqueeze(-1)).sum(-2)

        # p(x_c | x_<c) = sum_k p(k | x_<c) p_k(x_c | x_<c), with the posterior of the component
        weight = self._posterior(theta, earlier)
        return interval_probs(weight, mean, log_scales[..., c, :], self.levels)

    def _posterior(
        self,
        theta: Tensor,
        earlier: Tensor,
    ) -> Tensor:
        """Return the probability of each component given the earlier channels, (*sites, K)."""
        logits, means, log_scales, slopes = self._by_component(theta)
        log_weight = logits[..., 0, :].log_softmax(-1)
        half = (self.levels - 1) / 2

        for c in range(earlier.shape[-1]):
            mean = means[..., c, :]
            for b in range(c):
                slope = slopes[..., c * (c - 1) // 2 + b, :].tanh()
                mean = mean + slope * (earlier[..., b : b + 1] / half - 1)

            level = earlier[..., c : c + 1]
            log_weight = log_weight + log_interval(mean, log_scales[..., c, :], level, self.levels)
        return log_weight.softmax(-1)

    def _by_component(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Return logits, means, log-scales and slopes, (*sites, count, K) each."""
        by_component = theta.unflatten(-1, (-1, self.components))
        counts = [size // self.components for size in self.sizes.parts]
        return by_component.split(counts, dim=-2)

    def marginal(self, x: Tensor) -> Tensor:
        """Return components at quantiles of the data, all with the same scale, without slopes."""
        scaled = x * (2 / (self.levels - 1)) - 1
        places = (torch.arange(self.components).to(x) + 0.5) / self.components
        means = scaled.quantile(places, dim=0).movedim(0, -1)

        # The standard deviation of a logistic is pi / sqrt(3) times the scale.
        std = scaled.std(0, correction=0).clamp_min(math.exp(LEAST_LOG_SCALE))
        log_scales = (std * (math.sqrt(3) / math.pi)).log().unsqueeze(-1).expand_as(means)

        parts = self.sizes.parts
        logits, slopes = (x.new_zeros(*x.shape[1:-1], parts[i]) for i in (0, 3))
        return torch.cat((logits, means.flatten(-2), log_scales.flatten(-2), slopes), dim=-1)

    def _of_component(
        self,
        component: Tensor,
        part: Tensor,
    ) -> Tensor:
        """Return the parameters of a component of each site, for each channel or pair."""
        by_component = part.unflatten(-1, (-1, self.components))
        index = component.unsqueeze(-1).expand(*by_component.shape[:-1], 1)
        return by_component.gather(-1, index).squeeze(-1)
