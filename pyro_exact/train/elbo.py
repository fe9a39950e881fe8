"""The training loss that a recipe asks for."""

from __future__ import annotations

from pyro.infer import Trace_ELBO

from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.recipes import Elbo


def training_elbo(settings: Elbo) -> Trace_ELBO:
    """Return the ELBO for the settings of a recipe: annealed, with free bits, or plain."""
    if settings.anneal is not None:
        return AnnealedELBO(settings.anneal, settings.start, settings.steps)
    if settings.free_nats:
        return FreeBitsELBO(settings.free_nats, settings.per)
    return Trace_ELBO()
