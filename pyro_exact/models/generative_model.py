"""The base class of all models: a Pyro model and a guide in the same module."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import Trace_ELBO
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_exact.checks import check_batch, check_finite, check_size, check_tensor
from pyro_exact.models.abilities import Abilities
from pyro_exact.models.registration import forget, register
from pyro_exact.nn.finite import check_weights_for


class GenerativeModel(Abilities, nn.Module, ABC):
    """The base class of models p(x, z) with a guide q(z | x), trained by stock `SVI` or by `fit`.

    A subclass must implement `generate` and `infer` as ``pyro.sample`` statements for a batch
    inside the data plate, and `sample`. If `infer` is empty, the likelihood is exact, and
    `Trace_ELBO` is log p(x). A subclass should define `event_shape`; then `model`, `guide`,
    `initialize` and `log_weight` check the data. A model that can do more, for example complete
    data, should define the corresponding method, such as `complete`. Use
    `pyro_exact.testing.check_model` to check a new model, and `pyro_exact.train.fit` to train it.
    """

    # The data that `guide` has checked, for the `model` of the same step.
    _checked: tuple[weakref.ref[Tensor], int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        forget(self)  # weak references of the parameter store cannot be pickled
        return {**vars(self), "_checked": None}

    @property
    def event_shape(self) -> torch.Size | None:
        """Shape of a single datum; `None` if any shape is accepted."""
        return None

    @property
    def exact(self) -> bool:
        """True if an evaluation returns log p(x) itself, for example with an empty `infer`."""
        return type(self).infer is GenerativeModel.infer

    @property
    def classes(self) -> int | None:
        """Classes of a class-conditional model; `None` for any other model."""
        return None

    @property
    def context_dim(self) -> int | None:
        """Size of the real context of a conditional model; `None` for any other model."""
        return None

    @abstractmethod
    def generate(self, x: Tensor | None = None) -> Tensor:
        """Make the sample statements of p(x, z), with ``x`` observed or drawn, and return x."""

    def infer(self, x: Tensor) -> None:
        """Make the sample statements of q(z | x); by default there are none."""

    @abstractmethod
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data without gradient, using ``temperature`` to scale the base noise."""

    def model(self, x: Tensor) -> Tensor:
        """Call `generate` inside the data plate, with all parameters registered for `SVI`."""
        if not self._was_checked(x):
            self.check(x)

        register(self)
        with pyro.plate("data", len(x)):
            return self.generate(x)

    def guide(self, x: Tensor) -> None:
        """Call `infer` inside the data plate, with all parameters registered for `SVI`."""
        self.check(x)
        if not x.is_inference():  # an inference tensor has no version
            self._checked = weakref.ref(x), x._version

        register(self)
        with pyro.plate("data", len(x)):
            self.infer(x)

    def condition(self, label: Tensor) -> GenerativeModel:
        """Return a conditional model given the class or context of each datum, sharing parameters.

        Args:
            label: Of a model with ``classes``: integers in {0, ..., classes - 1}, of shape (N,).
                Of a model with a ``context_dim``: real vectors, (N, context_dim).

        Raises:
            ValueError: If the model is not conditional, or has no such class.
        """
        raise ValueError(
            f"{type(self).__name__} expects no labels, because it is not class-conditional; got "
            "labels. Omit the labels."
        )

    def check(self, x: Tensor) -> None:
        """Raise an error with advice if the model cannot score these data.

        By default data must be a batch, (N, *event_shape), of finite elements.

        Raises:
            TypeError: If ``x`` is not a dense tensor of real elements.
            ValueError: If ``x`` is not a batch of such data.
        """
        name = type(self).__name__
        if self.event_shape is not None:
            check_batch(name, "x", x, self.event_shape)
        elif check_tensor(name, "x", x).dim() == 0 or len(x) == 0:
            raise ValueError(
                f"{name} expects x of shape (N, ...) with N of at least 1; got {tuple(x.shape)}. "
                "Add the batch dimension."
            )

        check_finite(name, "x", x, "Repair or remove these data")

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data, using a batch; see `Bijection.initialize`."""
        self.check(x)

    def prepare(self, x: Tensor) -> None:
        """Create the parameters that depend on the shape of a batch; by default there are none.

        `fit` calls it before it makes the optimiser.
        """

    def loss(self, x: Tensor, elbo: Trace_ELBO, size: int) -> Tensor:
        """Return the training loss of a batch, differentiable: minus the ELBO in nats, summed.

        Args:
            x: A batch.
            elbo: The estimator of the ELBO.
            size: Rows of the training data, used by models with global latents.
        """
        # The negative ELBO: log q(z | x) - log p(x, z), with z from the guide q.
        plate = pyro.plate("data", len(x))
        loss: Tensor = elbo.differentiable_loss(plate(self.generate), plate(self.infer), x)
        return loss

    def log_weight(self, x: Tensor, samples: int | None = None) -> Tensor:
        r"""Return a sample of log p(x, z) - log q(z | x) for each x, in nats, of shape (len(x),).

        The mean is the ELBO, and log-mean-exp over k samples is the importance-weighted bound
        (Burda, Grosse and Salakhutdinov, 2016, equation 8). With an empty guide it is log p(x).

        Args:
            x: Data of shape (N, ...).
            samples: Optional; how many samples to use for each x. Then the result has the shape
                (samples, len(x)). The guide computes the features of x only once.

        Raises:
            ValueError: If ``samples`` is not positive; on data that the model cannot score.
        """
        guide, model = self.traces(x, samples)
        return log_prob(model) - log_prob(guide)

    def traces(self, x: Tensor, samples: int | None = None) -> tuple[poutine.Trace, poutine.Trace]:
        """Return traces of the guide and of the replayed model, both with log-probabilities.

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

        guide.compute_log_prob()
        model.compute_log_prob()
        return guide, model

    def _was_checked(self, x: Tensor) -> bool:
        """Return whether `guide` has just checked these data, because ELBOs call it first."""
        checked, self._checked = self._checked, None
        if checked is None:
            return False

        tensor, version = checked
        return tensor() is x and version == x._version


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and restore the mode of each part at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def checked_count(model: nn.Module, n: int) -> int:
    """Return how many data to draw, or raise an error if the weights are not finite."""
    check_weights_for(f"{type(model).__name__}.sample", model)
    return check_size(f"{type(model).__name__}.sample", "n", n, least=0)


def refuse_temperature(temperature: float | None) -> None:
    """Raise ValueError if an autoregressive model is given a temperature."""
    if temperature is not None:
        raise ValueError(
            f"An autoregressive model has no base noise to scale; got temperature {temperature!r}. "
            "Leave it out."
        )


def log_prob(trace: poutine.Trace) -> Tensor:
    """Return the sum of the log-probabilities of all sites; see ``Trace.compute_log_prob``."""
    total = torch.zeros(())
    for site in trace.nodes.values():
        if site["type"] == "sample" and not site_is_subsample(site):
            total = total + site["log_prob"]
    return total
