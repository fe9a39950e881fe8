"""The training loss that a recipe asks for."""

from __future__ import annotations

from pyro.infer import Trace_ELBO

from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.recipes import Elbo


def training_elbo(settings: Elbo) -> Trace_ELBO:
    """Return the loss that a recipe asks for."""
    if settings.anneal is not None:
        return AnnealedELBO(settings.anneal, settings.start, settings.steps)
    return FreeBitsELBO(settings.free_nats, settings.per) if settings.free_nats else Trace_ELBO()
