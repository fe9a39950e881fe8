"""The canvas of Convolutional DRAW: the parameters of the pixels, which grow step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.likelihood import Likelihood


class Canvas(ABC):
    r"""A formula from the maps of a canvas to the distribution of the pixels.

    Attributes:
        maps: Channels of the canvas.
        likelihood: The distribution of a site.

    Shape:
        - r: (\*batch, maps, H, W); means: (\*batch, C, H, W), in [-1, 1] for most images.
    """

    maps: int
    likelihood: Likelihood

    @abstractmethod
    def means(self, r: Tensor) -> Tensor:
        """Return the mean of each element, scaled as the input of the networks."""

    @abstractmethod
    def distribution(self, r: Tensor) -> IndependentSites:
        """Return p(x | r)."""

    @abstractmethod
    def marginal(self, x: Tensor) -> Tensor:
        """Return the same maps for all pixels that fit a batch best, (maps)."""


class BernoulliCanvas(Canvas):
    """A canvas of the logits of bits."""

    def __init__(self, channels: int) -> None:
        self.maps = channels
        self.likelihood = BernoulliLikelihood()

    def means(self, r: Tensor) -> Tensor:
        # 2 sigmoid(r) - 1
        return (r / 2).tanh()

    def distribution(self, r: Tensor) -> IndependentSites:
        return IndependentSites(r.unsqueeze(-1), self.likelihood, grid_dim=3)

    def marginal(self, x: Tensor) -> Tensor:
        pixels = x.movedim(1, -1).flatten(0, -2)
        return self.likelihood.marginal(pixels).squeeze(-1)


class LogisticCanvas(Canvas):
    """A canvas of the means and log-scales of discretised logistics, independent of each other."""

    def __init__(self, channels: int, levels: int) -> None:
        self.maps = 2 * channels
        self.likelihood: DiscretizedLogisticMixture = DiscretizedLogisticMixture(
            channels, levels, components=1
        )

    def means(self, r: Tensor) -> Tensor:
        return r.chunk(2, dim=-3)[0]

    def distribution(self, r: Tensor) -> IndependentSites:
        statistics = r.movedim(-3, -1)
        batch = statistics.shape[:-1]
        logit_size, _, _, slope_size = self.likelihood.sizes.parts

        # One component, so the logit is arbitrary; channels do not depend on each other.
        logit, slopes = r.new_zeros(*batch, logit_size), r.new_zeros(*batch, slope_size)
        theta = torch.cat((logit, statistics, slopes), dim=-1)
        return IndependentSites(theta, self.likelihood, grid_dim=2)

    def marginal(self, x: Tensor) -> Tensor:
        pixels = x.movedim(1, -1).flatten(0, -2)
        _, means, log_scales, _ = self.likelihood.marginal(pixels).split(
            self.likelihood.sizes.parts
        )
        return torch.cat((means, log_scales))
