"""A model of continuous data, or of anything else that a distribution can score."""

from __future__ import annotations

from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_floating
from pyro_exact.distributions.flow import Flow
from pyro_exact.models.classes import one_hot
from pyro_exact.models.generative_model import GenerativeModel, checked_count, refuse_temperature
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast as cast_to
from pyro_exact.nn.precision import weight_of


class Density(GenerativeModel):
    """A distribution as a model with exact likelihood: log p(x) itself is trained.

    Of an ensemble, each step in training mode takes one member, drawn at random. The mean of its
    log p(x) is below that of the mixture (Jensen), which is what is evaluated and sampled.

    Args:
        distribution: A module that returns a distribution when called, such as `Flow`, or an
            `Autoregressive`.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.transforms import ActNorm
        >>> Density(Flow(StandardNormal(2), ActNorm(2).inv)).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, distribution: nn.Module | Autoregressive) -> None:
        super().__init__()
        self.distribution = distribution
        if isinstance(distribution, Autoregressive):
            self.net = cast(
                CausalNet, distribution.net
            )  # its parameters are ours; a module registers itself

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one datum."""
        shape: torch.Size = self._made().event_shape
        return shape

    @property
    def classes(self) -> int | None:
        """Number of classes of a class-conditional model; `None` for any other."""
        shape = self.net.context_shape if isinstance(self.distribution, Autoregressive) else None
        return shape[0] if shape is not None and len(shape) == 1 else None

    def condition(self, label: Tensor) -> GenerativeModel:
        if self.classes is None:
            return super().condition(label)
        one, label = (
            cast(Autoregressive, self.distribution),
            one_hot(label, self.classes, "Density"),
        )
        conditioned = Density(Autoregressive(self.net, label, one.member, one._validate_args))
        conditioned.training = self.training  # ours alone: the network is shared
        return conditioned

    def generate(self, x: Tensor | None = None) -> Tensor:
        made = self._made()
        if self.training and isinstance(made, Autoregressive):
            made = made.one_member()
        observed = None if x is None else self._cast(x)
        sample: Tensor = pyro.sample("x", made, obs=observed)
        return sample

    def check(self, x: Tensor) -> None:
        super().check(x)
        if isinstance(self.distribution, Autoregressive):
            self.distribution._validate_sample(x)
        elif isinstance(self.distribution, Flow):
            check_floating("Density", "x", x)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        if isinstance(self.distribution, Autoregressive):
            self.net.initialize(x)
        elif isinstance(self.distribution, Flow):
            initialize_flow(self.distribution, self._cast(x), "Density")

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None, progress: bool = False) -> Tensor:
        """Draw ``n`` samples. Given classes, it draws ``n`` of each, (n, classes, ...).

        Args:
            n: How many.
            temperature: As in `Flow`.
            progress: Whether to show a progress bar, if an autoregressive model takes long.

        Raises:
            ValueError: If a temperature is given and the distribution is `Autoregressive`; if the
                weights, or what they compute, are not finite.
        """
        made, n = self._made(temperature), checked_count(self, n)
        if isinstance(made, Autoregressive):
            return made.sample((n,), progress=progress)
        return check_output("Density.sample", "what it draws", made.sample((n,)), self)

    def _cast(self, x: Tensor) -> Tensor:
        """Return data in the precision of the weights; values of a discrete distribution are any numbers."""
        if isinstance(self.distribution, Autoregressive) or not x.is_floating_point():
            return x
        return cast_to(x, weight_of(self))

    def _made(self, temperature: float | None = None) -> Any:
        made: Any = self.distribution
        if not isinstance(made, Autoregressive):
            return made() if temperature is None else made(temperature)
        refuse_temperature(temperature)
        return made
