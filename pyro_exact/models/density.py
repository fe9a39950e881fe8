"""A distribution as a model with exact likelihood."""

from __future__ import annotations

from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_event, check_finite, check_floating, check_size
from pyro_exact.distributions.discrete_flow import DiscreteFlow
from pyro_exact.distributions.flow import Flow
from pyro_exact.distributions.mixture import Mixture
from pyro_exact.models.classes import one_hot
from pyro_exact.models.generative_model import GenerativeModel, checked_count, refuse_temperature
from pyro_exact.models.initialization import initialize_flow, initialize_mixture
from pyro_exact.models.noise_map import NoiseMap
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast as cast_to
from pyro_exact.nn.precision import weight_of


class Density(GenerativeModel):
    r"""A model with exact likelihood. Use it to train a flow or an autoregressive network.

    The objective is log p(x) itself, without a guide. When an ensemble is trained, each step uses a
    random member, whose expected log p(x) is below the log-density of the mixture (Jensen). An
    evaluation and a sample use the mixture.

    When the distribution takes a context, this is a model of p(x | context): use `condition` with
    the context of each row of a batch. The context is a real vector if ``context_dim`` is given,
    and a class otherwise. Use this for regression, and for simulation-based inference, where x are
    the parameters and the context is the output of the simulator.

    Args:
        distribution: The distribution of the data: a module that returns a distribution when
            called, for example a `Flow`, or an `Autoregressive`. A conditional distribution has a
            method ``condition(context)``.
        context_dim: Size of a real context; optional. The default is no context, or a one-hot
            class if the distribution takes a context.

    Raises:
        TypeError: If a context is given, and the distribution has no method ``condition``.
        ValueError: If the distribution takes a context of another size.

    Reference:
        Papamakarios and Murray (2016), Fast epsilon-free Inference of Simulation Models with
        Bayesian Conditional Density Estimation, for p(x | context) in simulation-based inference.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.flows import maf
        >>> from pyro_exact.transforms import ActNorm
        >>> Density(Flow(StandardNormal(2), ActNorm(2).inv)).sample(5).shape
        torch.Size([5, 2])
        >>> model = Density(Flow(StandardNormal(2), maf(2, context_dim=3).inv), context_dim=3)
        >>> model.condition(torch.randn(7, 3)).log_weight(torch.randn(7, 2)).shape
        torch.Size([7])
    """

    # The context of each row, of a model that was conditioned.
    _context: Tensor | None = None

    def __init__(
        self, distribution: nn.Module | Autoregressive, context_dim: int | None = None
    ) -> None:
        super().__init__()
        self.distribution = distribution

        # A module is registered by the assignment; of a distribution the network has to be.
        if isinstance(distribution, Autoregressive):
            self.net = distribution.net

        self._context_dim = context_dim
        if context_dim is not None:
            self._context_dim = check_size("Density", "context_dim", context_dim)
            self._check_context_dim(self._context_dim)

    @property
    def event_shape(self) -> torch.Size:
        """Shape of a single datum."""
        known = isinstance(self.distribution, (Autoregressive, Flow))
        distribution: Any = self.distribution if known else self._distribution()
        shape: torch.Size = distribution.event_shape
        return shape

    @property
    def classes(self) -> int | None:
        """Classes of a class-conditional model; `None` for any other model."""
        shape = self._context_shape
        if self._context_dim is not None or self._context is not None:
            return None
        return shape[0] if shape is not None and len(shape) == 1 else None

    @property
    def context_dim(self) -> int | None:
        """Size of the real context of a conditional model; `None` for any other model."""
        return None if self._context is not None else self._context_dim

    def condition(self, label: Tensor) -> GenerativeModel:
        if self.context_dim is not None:
            return self._given(self._checked_context(label, self.context_dim))
        if self.classes is not None:
            return self._given(one_hot(label, self.classes, "Density"))
        return super().condition(label)

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
            self.distribution.forward().check_value(x)
        elif isinstance(self.distribution, Flow):
            check_floating("Density", "x", x)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        if isinstance(self.distribution, Autoregressive):
            self.net.initialize(x)
        elif isinstance(self.distribution, DiscreteFlow):
            self.distribution.initialize(x)
        elif isinstance(self.distribution, Flow):
            initialize_flow(self.distribution, self._cast(x), "Density", self._context)
        elif isinstance(self.distribution, Mixture):
            initialize_mixture(self.distribution, self._cast(x), "Density")

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None, progress: bool = False) -> Tensor:
        """Draw ``n`` samples; of a conditioned model ``n`` for each context, (n, contexts, ...).

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
        return check_output("Density.sample", "the sample", distribution.sample((n,)), self)

    def sample_with_progress(self, n: int, temperature: float | None = None) -> Tensor:
        return self.sample(n, temperature, progress=True)

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, n: int = 1, progress: bool = False) -> Tensor:
        if not isinstance(self.distribution, Autoregressive):
            return super().complete(x, observed, n, progress)

        distribution: Autoregressive = self._distribution()
        return distribution.sample((n,), observed=x, mask=observed, progress=progress)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        if not isinstance(self.distribution, Flow):
            return super().encode(x)

        self.check(x)
        z, _ = self.distribution.bijection.source_and_ladj(self._cast(x), self._context)
        return check_output("Density.encode", "the noise", z, self)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        if not isinstance(self.distribution, Flow):
            return super().decode(z)

        check_floating("Density.decode", "z", z)
        check_event("Density.decode", "z", z, self.distribution.noise().event_shape)
        x = self.distribution.bijection.evaluate(self._cast(z), self._context)
        return check_output("Density.decode", "the data", x, self)

    def noise_map(self, x: Tensor, condition: Tensor | None = None) -> NoiseMap | None:
        if not isinstance(self.distribution, Flow):
            return None

        self.check(x)
        context = self._context
        if condition is not None:
            context = cast(Density, self.condition(condition))._context
        return NoiseMap(self.distribution.bijection.inv, x, context)

    def _given(self, context: Tensor) -> Density:
        """Return this model under a context, with the same weights."""
        conditioned = Density(self.distribution)
        conditioned._context = context
        conditioned.training = self.training  # of this module alone, as the weights are shared
        return conditioned

    def _distribution(self, temperature: float | None = None) -> Any:
        """Return the distribution of a datum."""
        given: Any = self.distribution
        autoregressive = isinstance(given, Autoregressive)
        if autoregressive:
            refuse_temperature(temperature)

        if self._context is not None:
            context = cast_to(self._context, weight_of(self))
            return given.condition(context, *() if temperature is None else (temperature,))

        if self.context_dim is not None:
            raise ValueError(
                f"This Density expects a context of shape (*batch, {self.context_dim}); got none. "
                "Use model.condition(context)."
            )
        if autoregressive:
            return given
        return given() if temperature is None else given(temperature)

    def _cast(self, x: Tensor) -> Tensor:
        """Return continuous data in the precision of the weights, and discrete data as they are."""
        if (
            isinstance(self.distribution, Autoregressive | DiscreteFlow)
            or not x.is_floating_point()
        ):
            return x
        return cast_to(x, weight_of(self))

    @property
    def _context_shape(self) -> tuple[int, ...] | None:
        """Shape of the context of the distribution, if it is known."""
        if isinstance(self.distribution, Autoregressive):
            return self.net.context_shape
        if isinstance(self.distribution, Flow):
            return self.distribution.bijection.context_shape
        return None

    def _check_context_dim(self, context_dim: int) -> None:
        """Raise an error if the distribution does not take a context of this size."""
        if not hasattr(self.distribution, "condition"):
            raise TypeError(
                "Density expects a conditional distribution, with a method condition(context), for "
                f"context_dim={context_dim}; got {type(self.distribution).__name__}. Leave "
                "context_dim out, or define the method."
            )

        known = isinstance(self.distribution, (Autoregressive, Flow))
        if known and self._context_shape != (context_dim,):
            raise ValueError(
                f"Density expects a distribution whose context has the size {context_dim}; got "
                f"context_shape {self._context_shape}. Build both with the same context_dim."
            )

    def _checked_context(self, context: Tensor, context_dim: int) -> Tensor:
        """Return a context, or raise an error on another shape or a value that is not finite."""
        check_floating("Density", "context", context)
        check_event("Density", "context", context, (context_dim,))
        return check_finite("Density", "context", context, "Repair it, or leave these rows out")
