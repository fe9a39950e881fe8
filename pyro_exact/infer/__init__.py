"""Training losses for stock `SVI` that depart from the ELBO: annealed, and with free bits."""

from pyro_exact.infer.annealed import AnnealedELBO
from pyro_exact.infer.free_bits import FreeBitsELBO

__all__ = ["AnnealedELBO", "FreeBitsELBO"]
