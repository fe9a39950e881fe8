"""The likelihood of a level on a circle, as a mixture of discretised logistics."""

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
    interval_probs,
    log_interval,
)

TURNS = 3  # around the circle; the ends of the outer intervals are at infinity


class CircularLogisticMixture(Likelihood):
    r"""A mixture of discretised logistics on a circle of levels. Use it for integer flows.

    .. math::
        \log p(x) = \log \sum_k \pi_k \sum_{n=-1}^{1} \big(\sigma(p_{kn}) - \sigma(q_{kn})\big),
        \qquad p, q = \frac{x + n L \pm \frac12 - \mu_k}{s_k}

    Level 0 follows level L - 1, so that adding an integer modulo L moves a distribution without
    changing its form. The outermost intervals reach to infinity, so that the probabilities of the L
    levels sum to 1.

    Args:
        levels: L, the levels of an element.
        components: K, the logistics of the mixture.

    Shape:
        - theta: (\*sites, 3 K): K logits of :math:`\pi`, K means in turns, so that an integer is
          level 0, and K logarithms of scales in turns, which are kept so large that s is at least a
          thousandth of 1.5 L.
        - x: (\*sites).

    Raises:
        ValueError: If there is no component, or only a single level.

    Reference:
        Hoogeboom, Peters, van den Berg and Welling (2019), Integer Discrete Flows and Lossless
        Compression, section 4.2, for the mixture; there integers are unbounded.

    Example:
        >>> likelihood = CircularLogisticMixture(4, 2)
        >>> mass = likelihood.level_probs(torch.randn(6), torch.zeros(0)).sum()
        >>> torch.isclose(mass, torch.tensor(1.0))
        tensor(True)
    """

    levels: int
    num_noise = 2  # for the component, and for the level

    def __init__(self, levels: int = 256, components: int = 5) -> None:
        name = "CircularLogisticMixture"
        self.levels = levels = check_size(name, "levels", levels, least=2)
        self.components = components = check_size(name, "components", components)
        self.num_params = 3 * components
        self.support = constraints.integer_interval(0, levels - 1)
        self.values = f"integers from 0 to {levels - 1}"

    def log_prob(
        self,
        theta: Tensor,
        x: Tensor,
    ) -> Tensor:
        logits, mean, log_scale = self._parameters(theta)

        # The level on each turn, (*sites, turns, K).
        turns = torch.arange(TURNS, dtype=theta.dtype, device=theta.device) * self.levels
        level = (x.to(theta.dtype).unsqueeze(-1) + turns).unsqueeze(-1)
        log_p = log_interval(
            mean.unsqueeze(-2),
            log_scale.unsqueeze(-2),
            level,
            TURNS * self.levels,
        )
        return (log_p + logits.log_softmax(-1).unsqueeze(-2)).flatten(-2).logsumexp(-1)

    def level_probs(
        self,
        theta: Tensor,
        earlier: Tensor,
    ) -> Tensor:
        logits, mean, log_scale = self._parameters(theta)
        probs = interval_probs(logits.softmax(-1), mean, log_scale, TURNS * self.levels)
        return probs.unflatten(-1, (TURNS, self.levels)).sum(-2)

    def draw(
        self,
        theta: Tensor,
        noise: Tensor,
    ) -> Tensor:
        logits, mean, log_scale = self._parameters(theta.to(noise.dtype))
        half = self._half

        # The component, by the inverse of the cumulative probabilities.
        cumulative = logits.softmax(-1).cumsum(-1)
        component = (noise[..., :1] >= cumulative[..., :-1]).sum(-1, keepdim=True)
        mean, log_scale = mean.gather(-1, component), log_scale.gather(-1, component)

        # A logistic draw is mean + scale * logit(noise), rounded to a level of one of the turns.
        scale = log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE).exp()
        value = mean + scale * noise[..., 1:].logit()
        level = ((value + 1) * half + 0.5).floor().clamp(0, TURNS * self.levels - 1)
        drawn = (level % self.levels).squeeze(-1)
        return drawn.add(cumulative[..., -1], alpha=0)  # NaN stays NaN

    def marginal(self, x: Tensor) -> Tensor:
        """Return components at quantiles of the data, all with the same scale."""
        places = (torch.arange(self.components).to(x) + 0.5) / self.components
        means = x.quantile(places, dim=0).movedim(0, -1) / self.levels

        # The standard deviation of a logistic is pi / sqrt(3) times the scale.
        least = math.exp(LEAST_LOG_SCALE) * self._half / self.levels
        std = (x.std(0, correction=0) / self.levels).clamp_min(least)
        log_scales = (std * (math.sqrt(3) / math.pi)).log().unsqueeze(-1).expand_as(means)
        return torch.cat((torch.zeros_like(means), means, log_scales), dim=-1)

    @property
    def _half(self) -> float:
        """Half of the distance between the first and the last level of all turns."""
        return (TURNS * self.levels - 1) / 2

    def _parameters(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, means and log-scales, where all turns are [-1, 1]."""
        logits, turn, log_scale = theta.split(self.components, dim=-1)

        # The mean on the middle turn: periodic, and with the derivative 1.
        level = (1 + turn - turn.detach().floor()) * self.levels
        mean = level / self._half - 1
        return logits, mean, log_scale + math.log(self.levels / self._half)
