"""The likelihood of a real number."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.distributions.likelihood import Likelihood


class GaussianLikelihood(Likelihood):
    r"""A site that is normal, with a mean and the logarithm of a standard deviation from the network.

    .. math:: \log p(x \mid \mu, s) = -\tfrac12 (x - \mu)^2 e^{-2 s} - s - \tfrac12 \log 2\pi

    Shape:
        - theta: (\*sites, 2), mean and log standard deviation; x: (\*sites).

    Example:
        >>> GaussianLikelihood().log_prob(torch.zeros(3, 2), torch.zeros(3))
        tensor([-0.9189, -0.9189, -0.9189])
    """

    num_params = 2
    support = constraints.real
    values = "finite numbers"

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        mean, log_std = theta.unbind(-1)
        return -0.5 * ((x - mean) * (-log_std).exp()).square() - log_std - 0.5 * math.log(2 * math.pi)

    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = theta.unbind(-1)
        inside = noise.squeeze(-1).clamp_min(torch.finfo(noise.dtype).eps / 4)  # 0 would be minus infinity
        return mean + log_std.exp() * torch.special.ndtri(inside)

    def marginal(self, x: Tensor) -> Tensor:
        tiny = torch.finfo(x.dtype).tiny
        return torch.stack((x.mean(0), x.std(0, correction=0).clamp_min(tiny).log()), dim=-1)
