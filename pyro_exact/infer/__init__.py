"""Training losses for stock `SVI` that end as the ELBO, or are it above a threshold."""

from pyro_exact.infer.annealed import AnnealedELBO
from pyro_exact.infer.free_bits import FreeBitsELBO

__all__ = ["AnnealedELBO", "FreeBitsELBO"]
