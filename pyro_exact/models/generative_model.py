"""What trains: a Pyro model/guide pair in one module."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor, nn


class GenerativeModel(nn.Module, ABC):
    """A model p(x, z) with its guide q(z | x), for stock `SVI` and for `pyro_exact.train.fit`.

    A subclass writes `generate` and `infer` as ``pyro.sample`` statements for one batch inside the data plate. With an
    empty `infer` the likelihood is exact, and `Trace_ELBO` is log p(x).
    """

    @abstractmethod
    def generate(self, x: Tensor | None = None) -> Tensor:
        """Make the sample statements of p(x, z): observe ``x``, or draw it; return it."""

    def infer(self, x: Tensor) -> None:
        """Make the sample statements of q(z | x); none by default."""

    def model(self, x: Tensor) -> Tensor:
        """`generate` inside the data plate with its parameters registered, for stock `SVI`."""
        pyro.module("model", self)
        with pyro.plate("data", len(x)):
            return self.generate(x)

    def guide(self, x: Tensor) -> None:
        """`infer` inside the data plate with its parameters registered, for stock `SVI`."""
        pyro.module("model", self)
        with pyro.plate("data", len(x)):
            self.infer(x)

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data from a batch; see `Bijection.initialize`."""

    def log_weight(self, x: Tensor) -> Tensor:
        r"""Return one sample of log p(x, z) - log q(z | x) for each x, in nats, of shape (len(x),).

        Its mean is the ELBO; log-mean-exp over k samples is the importance-weighted bound (Burda, Grosse and
        Salakhutdinov, 2016, equation 8). With an empty guide it is log p(x) itself.
        """
        with pyro.plate("data", len(x)):
            guide = poutine.trace(self.infer).get_trace(x)
            model = poutine.trace(poutine.replay(self.generate, trace=guide)).get_trace(x)
        return _log_prob(model, len(x)) - _log_prob(guide, len(x))


def _log_prob(trace: poutine.Trace, n: int) -> Tensor | float:
    trace.compute_log_prob()
    sites = (site for site in trace.nodes.values() if site["type"] == "sample")
    return sum((site["log_prob"].expand(n) for site in sites if not _is_plate(site)), torch.zeros(()))


def _is_plate(site: dict) -> bool:  # type: ignore[type-arg]
    return bool(type(site["fn"]).__name__ == "_Subsample")
