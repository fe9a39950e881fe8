"""The IAF-VAE: a ladder of latent maps with inverse autoregressive posteriors."""

from pyro_exact.models.iaf_vae.builder import iaf_vae
from pyro_exact.models.iaf_vae.layer import StochasticLayer
from pyro_exact.models.iaf_vae.model import ResNetVAE

__all__ = ["ResNetVAE", "StochasticLayer", "iaf_vae"]
