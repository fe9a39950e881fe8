"""A distribution as a model with exact likelihood."""

from __future__ import annotations

from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_floating
from pyro_exact.distributions.discrete_flow import DiscreteFlow
from pyro_exact.distributions.flow import Flow
from pyro_exact.models.classes import one_hot
from pyro_exact.models.generative_model import GenerativeModel, checked_count, refuse_temperature
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast as cast_to
from pyro_exact.nn.precision import weight_of


class Density(GenerativeModel):
    """A model with exact likelihood. Use it to train a flow or an autoregressive network.

    The objective is log p(x) itself, without a guide. When an ensemble is trained, each step uses a
    random member, whose expected log p(x) is below the log-density of the mixture (Jensen). An
    evaluation and a sample use the mixture.

    Args:
        distribution: The distribution of the data: a module that returns a distribution when
            called, for example a `Flow`, or an `Autoregressive`.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.transforms import ActNorm
        >>> Density(Flow(StandardNormal(2), ActNorm(2).inv)).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, distribution: nn.Module | Autoregressive) -> None:
        super().__init__()
        self.distribution = distribution

        # A module is registered by the assignment; of a distribution the network has to be.
        if isinstance(distribution, Autoregressive):
            self.net = distribution.net

    @property
    def event_shape(self) -> torch.Size:
        """Shape of a single datum."""
        shape: torch.Size = self._distribution().event_shape
        return shape

    @property
    def classes(self) -> int | None:
        """Classes of a class-conditional model; `None` for any other model."""
        if not isinstance(self.distribution, Autoregressive):
            return None

        shape = self.net.context_shape
        return shape[0] if shape is not None and len(shape) == 1 else None

    def condition(self, label: Tensor) -> GenerativeModel:
        if self.classes is None:
            return super().condition(label)

        given = cast(Autoregressive, self.distribution)
        distribution = given.condition(one_hot(label, self.classes, "Density"))

        conditioned = Density(distribution)
        conditioned.training = self.training  # of this module alone, as the network is shared
        return conditioned

    def generate(self, x: Tensor | None = None) -> Tensor:
        distribution = self._distribution()
        if self.training and isinstance(distribution, Autoregressive):
            distribution = distribution.one_member()

        observed = None if x is None else self._cast(x)
        sample: Tensor = pyro.sample("x", distribution, obs=observed)
        return sample

    def check(self, x: Tensor) -> None:
        super().check(x)
        if isinstance(self.distribution, Autoregressive):
            self.distribution.check_value(x)
        elif isinstance(self.distribution, DiscreteFlow):
            self.distribution().check_value(x)
        elif isinstance(self.distribution, Flow):
            check_floating("Density", "x", x)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        if isinstance(self.distribution, Autoregressive):
            self.net.initialize(x)
        elif isinstance(self.distribution, DiscreteFlow):
            self.distribution.initialize(x)
        elif isinstance(self.distribution, Flow):
            initialize_flow(self.distribution, self._cast(x), "Density")

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None, progress: bool = False) -> Tensor:
        """Draw ``n`` samples; of a model conditioned on classes, ``n`` of each, (n, classes, ...).

        Args:
            n: How many samples to draw.
            temperature: As in `Flow`.
            progress: If true, an autoregressive model shows a progress bar.

        Raises:
            ValueError: If a temperature is given and the distribution is `Autoregressive`; if the
                weights or the samples are not finite.
        """
        distribution = self._distribution(temperature)
        n = checked_count(self, n)

        if isinstance(distribution, Autoregressive):
            return distribution.sample((n,), progress=progress)
        return check_output("Density.sample", "what it draws", distribution.sample((n,)), self)

    def _cast(self, x: Tensor) -> Tensor:
        """Return continuous data in the precision of the weights, and discrete data as they are."""
        if (
            isinstance(self.distribution, Autoregressive | DiscreteFlow)
            or not x.is_floating_point()
        ):
            return x
        return cast_to(x, weight_of(self))

    def _distribution(self, temperature: float | None = None) -> Any:
        """Return the distribution of a datum."""
        given: Any = self.distribution

        if isinstance(given, Autoregressive):
            refuse_temperature(temperature)
            return given
        return given() if temperature is None else given(temperature)
