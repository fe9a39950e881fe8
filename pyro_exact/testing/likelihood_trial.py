"""A likelihood under test, and parameters and values for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.testing.net_trial import draw_values

SITES = 5


@dataclass(frozen=True)
class LikelihoodTrial:
    r"""A likelihood, with parameters and values of some sites, in float64.

    Args:
        likelihood: The likelihood.
        theta: Parameters, of shape (5, num_params).
        x: Values, of shape (5, \*site_shape).
    """

    likelihood: Likelihood
    theta: Tensor
    x: Tensor

    @classmethod
    def of(cls, likelihood: Likelihood) -> LikelihoodTrial:
        """Draw parameters and values."""
        theta = torch.randn(SITES, likelihood.num_params, dtype=torch.float64)
        return cls(
            likelihood,
            theta,
            draw_values(likelihood, (SITES, *likelihood.site_shape)),
        )

    def noise(self, *sites: int) -> Tensor:
        """Draw uniform noise for sites."""
        return torch.rand(*sites, self.likelihood.num_noise, dtype=torch.float64)
