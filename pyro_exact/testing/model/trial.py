"""A model under test, and data for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_exact.models.generative_model import GenerativeModel, log_prob

ROWS = 4


@dataclass(frozen=True)
class ModelTrial:
    r"""A copy of a model and a batch of data. Each law gets a new trial, and may change it.

    Args:
        model: The model, in float64 and in evaluation mode.
        x: Data, of shape (4, \*event); floating-point data are in float64.
    """

    model: GenerativeModel
    x: Tensor

    @classmethod
    def of(cls, model: GenerativeModel, data: Tensor, std: float = 0.1) -> ModelTrial:
        """Copy a model and move the weights; the arguments are those of `check_model`."""
        model = copy.deepcopy(model).cpu().double().eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(std * torch.randn_like(p))

        x = data[:ROWS].detach().cpu().clone()
        return cls(model, x.double() if x.is_floating_point() else x)

    def with_model(self, model: GenerativeModel) -> ModelTrial:
        """Return the same trial of another model."""
        return replace(self, model=model)

    def log_weights(
        self,
        x: Tensor | None = None,
        samples: int | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Return `GenerativeModel.log_weight` of the data, with the random state of a seed."""
        torch.manual_seed(seed)
        return self.model.log_weight(self.x if x is None else x, samples)

    def latents(self) -> dict[str, Tensor]:
        """Return a draw of all latents from the guide, by the names of their sites."""
        with pyro.plate("data", len(self.x), dim=-1):
            trace = poutine.trace(self.model.infer).get_trace(self.x)

        sites: dict[str, Any] = dict(trace.nodes)
        return {
            name: site["value"]
            for name, site in sites.items()
            if site["type"] == "sample" and not site_is_subsample(site)
        }

    def log_weights_given(self, x: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Return log p(x, z) - log q(z | x) of each datum, for given latents."""
        with pyro.plate("data", len(x), dim=-1):
            guide = self._trace(self.model.infer, x, latents)
            model = self._trace(self.model.generate, x, latents)
        return log_prob(model) - log_prob(guide)

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters that require gradients and are not empty, by name."""
        named = self.model.named_parameters()
        return {name: p for name, p in named if p.requires_grad and p.numel()}

    def _trace(
        self,
        program: Callable[..., Any],
        x: Tensor,
        latents: dict[str, Tensor],
    ) -> Any:
        trace = poutine.trace(poutine.condition(program, latents)).get_trace(x)
        trace.compute_log_prob()
        return trace


def exact(trial: ModelTrial) -> bool:
    """A model with exact likelihood."""
    return trial.model.exact


def learns(trial: ModelTrial) -> bool:
    """A model with parameters."""
    return bool(trial.weights())


def takes_integers(trial: ModelTrial) -> bool:
    """A model of data with an integer type."""
    return not trial.x.is_floating_point()


def takes_floats(trial: ModelTrial) -> bool:
    """A model of floating-point data."""
    return trial.x.is_floating_point()


def declares_its_event(trial: ModelTrial) -> bool:
    """A model that declares the shape of an event."""
    return trial.model.event_shape is not None
