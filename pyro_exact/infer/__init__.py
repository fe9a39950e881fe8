"""Training losses for stock `SVI`: the annealed ELBO, and the ELBO with free bits."""

from pyro_exact.infer.annealed import AnnealedELBO
from pyro_exact.infer.flow_matching import flow_matching_loss
from pyro_exact.infer.free_bits import FreeBitsELBO

__all__ = [
    "AnnealedELBO",
    "FreeBitsELBO",
    "flow_matching_loss",
]
