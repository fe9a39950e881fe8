"""The likelihood of a real value, or of several independent real values."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_size
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.precision import least_std


class GaussianLikelihood(Likelihood):
    r"""A normal distribution with a mean and a log standard deviation. Use it for real data.

    .. math:: \log p(x \mid \mu, s) =
        \sum_c -\tfrac12 (x_c - \mu_c)^2 e^{-2 s_c} - s_c - \tfrac12 \log 2\pi

    The smallest standard deviation gives the narrowest normal with a finite density, 1e-19 in
    float32.

    Args:
        channels: Independent elements of a site, C, for example of a pixel of a latent map; `None`
            for a site that is a single element.

    Shape:
        - theta: (\*sites, 2 C), means, then log standard deviations; x: (\*sites, C), or (\*sites)
          for a single element.

    Raises:
        ValueError: If ``channels`` is not positive.

    Example:
        >>> GaussianLikelihood().log_prob(torch.zeros(3, 2), torch.zeros(3))
        tensor([-0.9189, -0.9189, -0.9189])
    """

    support = constraints.real
    values = "finite numbers"

    def __init__(self, channels: int | None = None) -> None:
        if channels is not None:
            channels = check_size("GaussianLikelihood", "channels", channels)
        self.site_shape = () if channels is None else (channels,)
        self.num_noise = channels or 1
        self.num_params = 2 * self.num_noise

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        mean, log_std = self._split(theta)
        error = (self._elements(x) - mean) * (-log_std).exp()
        log_p = -0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi)
        return log_p.sum(-1)

    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self._split(theta)
        inside = noise.clamp_min(torch.finfo(noise.dtype).eps / 4)  # 0 would give minus infinity
        x = mean + log_std.exp() * torch.special.ndtri(inside)
        return x if self.site_shape else x.squeeze(-1)

    def marginal(self, x: Tensor) -> Tensor:
        elements = self._elements(x)
        mean, std = elements.mean(0), elements.std(0, correction=0)

        # The standard deviation of a constant is rounding error; it gets the scale 1.
        rounding = 10 * torch.finfo(x.dtype).eps * elements.abs().amax(0)
        return torch.cat((mean, std.where(std > rounding, 1).log()), dim=-1)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log standard deviations, all large enough for a finite density."""
        mean, log_std = theta.chunk(2, dim=-1)
        return mean, log_std.clamp_min(math.log(least_std(theta.dtype)))

    def _elements(self, x: Tensor) -> Tensor:
        """Return the elements of each site in a separate dimension."""
        return x if self.site_shape else x.unsqueeze(-1)
