"""Pyro model/guide pairs."""

from pyro_exact.models.density import Density
from pyro_exact.models.dequantized import Dequantized
from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.models.hierarchical_pixel_vae import HierarchicalPixelVAE
from pyro_exact.models.iaf_vae import ResNetVAE, iaf_vae
from pyro_exact.models.order_agnostic import OrderAgnostic
from pyro_exact.models.pixel_vae import PixelVAE
from pyro_exact.models.vae import VAE

__all__ = [
    "VAE",
    "Density",
    "Dequantized",
    "GenerativeModel",
    "HierarchicalPixelVAE",
    "OrderAgnostic",
    "PixelVAE",
    "ResNetVAE",
    "iaf_vae",
]
