"""What trains: a Pyro model/guide pair in one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_exact.checks import check_batch, check_finite, check_size, check_tensor
from pyro_exact.models.registration import forget, register
from pyro_exact.nn.finite import check_weights_for


class GenerativeModel(nn.Module, ABC):
    """A model p(x, z) with its guide q(z | x), for stock `SVI` and for `pyro_exact.train.fit`.

    A subclass writes `generate` and `infer` as ``pyro.sample`` statements for one batch inside the
    data plate. With an empty `infer` the likelihood is exact, and `Trace_ELBO` is log p(x). With
    `event_shape` it says what a datum is, and all that enters through `model`, `guide`,
    `initialize` and `log_weight` is
    checked.
    """

    def __getstate__(self) -> dict[str, Any]:
        forget(self)  # a model that stock SVI has trained is to be pickled like any other
        return vars(self)

    @property
    def event_shape(self) -> torch.Size | None:
        """Shape of one datum; `None` if any will do."""
        return None

    @property
    def exact(self) -> bool:
        """Whether what an evaluation scores is log p(x) itself, as with an empty `infer`, and not a bound."""
        return type(self).infer is GenerativeModel.infer

    @abstractmethod
    def generate(self, x: Tensor | None = None) -> Tensor:
        """Make the sample statements of p(x, z): observe ``x``, or draw it; return it."""

    def infer(self, x: Tensor) -> None:
        """Make the sample statements of q(z | x); none by default."""

    def model(self, x: Tensor) -> Tensor:
        """`generate` inside the data plate with its parameters registered, for stock `SVI`; ``x`` is checked."""
        self.check(x)
        register(self)
        with pyro.plate("data", len(x)):
            return self.generate(x)

    def guide(self, x: Tensor) -> None:
        """`infer` inside the data plate with its parameters registered, for stock `SVI`; ``x`` is checked."""
        self.check(x)
        register(self)
        with pyro.plate("data", len(x)):
            self.infer(x)

    @abstractmethod
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data, without gradient; ``temperature`` scales the base noise, where the model has one."""

    @property
    def classes(self) -> int | None:
        """Number of classes of a class-conditional model; `None` for any other."""
        return None

    def condition(self, label: Tensor) -> GenerativeModel:
        """Return a class-conditional model given the class of each datum; it shares all parameters.

        Args:
            label: Integers in {0, ..., classes - 1}, of shape (N,).

        Raises:
            ValueError: If the model is not class-conditional, or has no such class.
        """
        raise ValueError(
            f"This {type(self).__name__} is not class-conditional; got labels. Use it without them."
        )

    def check(self, x: Tensor) -> None:
        """Raise an error that says what is wrong with data that the model cannot score.

        By default data are a batch, (N, *event_shape), of finite numbers.

        Raises:
            TypeError: If it is no dense tensor of real numbers.
            ValueError: If it is no batch of such data.
        """
        name = type(self).__name__
        if self.event_shape is not None:
            check_batch(name, "x", x, self.event_shape)
        elif check_tensor(name, "x", x).dim() == 0 or len(x) == 0:
            raise ValueError(
                f"{name} expects x of shape (N, ...) with N of at least 1; got {tuple(x.shape)}. Add the batch "
                f"dimension."
            )
        check_finite(name, "x", x, "Repair these data, or leave them out")

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data from a batch; see `Bijection.initialize`. ``x`` is checked."""
        self.check(x)

    def log_weight(self, x: Tensor, samples: int | None = None) -> Tensor:
        r"""Return one sample of log p(x, z) - log q(z | x) for each x, in nats, of shape (len(x),).

        Its mean is the ELBO; log-mean-exp over k samples is the importance-weighted bound (Burda,
        Grosse and Salakhutdinov, 2016, equation 8). With an empty guide it is log p(x) itself.

        Args:
            x: Data of shape (N, ...).
            samples: So many at once, of shape (samples, len(x)); what the guide computes from x it
                computes once.

        Raises:
            ValueError: If the number of samples is not positive; on data that the model cannot
                score.
        """
        guide, model = self.traces(x, samples)
        return log_prob(model) - log_prob(guide)

    def traces(self, x: Tensor, samples: int | None = None) -> tuple[poutine.Trace, poutine.Trace]:
        """Return what the guide draws for data, and the model replayed against it, both with their log-probabilities.

        Args:
            x: Data of shape (N, ...).
            samples: As in `log_weight`.
        """
        self.check(x)
        if samples is not None:
            samples = check_size(f"{type(self).__name__}.log_weight", "samples", samples)
        with ExitStack() as plates:
            if samples is not None:
                plates.enter_context(pyro.plate("samples", samples, dim=-2))
            plates.enter_context(pyro.plate("data", len(x), dim=-1))
            guide = poutine.trace(self.infer).get_trace(x)
            model = poutine.trace(poutine.replay(self.generate, trace=guide)).get_trace(x)
        for trace in (guide, model):
            trace.compute_log_prob()
        return guide, model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its parts back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def checked_count(model: nn.Module, n: int) -> int:
    """Return how many data to draw, or say that it is no such number, or that the model has weights of no use."""
    check_weights_for(f"{type(model).__name__}.sample", model)
    return check_size(f"{type(model).__name__}.sample", "n", n, least=0)


def refuse_temperature(temperature: float | None) -> None:
    """Raise ValueError if an autoregressive model is given a temperature."""
    if temperature is not None:
        raise ValueError(
            f"An autoregressive model has no base noise to scale; got temperature {temperature!r}. Leave it out."
        )


def log_prob(trace: poutine.Trace) -> Tensor:
    """Return the sum of the log-probabilities of all sites of a trace that has them."""
    total = torch.zeros(())
    for site in trace.nodes.values():
        if site["type"] == "sample" and not site_is_subsample(site):
            total = total + site["log_prob"]
    return total
