"""A model of continuous data, or of anything else that a distribution can score."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from pyro_exact.models.generative_model import GenerativeModel


class Density(GenerativeModel):
    """A distribution as a model with exact likelihood: log p(x) itself is trained.

    Args:
        distribution: A module that returns a distribution when called, such as `Flow`.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.transforms import ActNorm
        >>> Density(Flow(StandardNormal(2), ActNorm(2).inv)).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, distribution: nn.Module) -> None:
        super().__init__()
        self.distribution = distribution

    def generate(self, x: Tensor | None = None) -> Tensor:
        sample: Tensor = pyro.sample("x", self.distribution(), obs=x)
        return sample

    def initialize(self, x: Tensor) -> None:
        bijection = getattr(self.distribution, "bijection", None)
        if bijection is not None:
            bijection.inv.initialize(x)

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` samples; ``temperature`` as in `Flow`."""
        made = self.distribution() if temperature is None else self.distribution(temperature)
        sample: Tensor = made.sample((n,))
        return sample
