"""Generative models as Pyro model/guide pairs, and the builders of variational autoencoders."""

from pyro_exact.models.conv_draw import ConvDRAW
from pyro_exact.models.conv_vae import conv_vae
from pyro_exact.models.dense_vae import dense_vae
from pyro_exact.models.density import Density
from pyro_exact.models.dequantized import Dequantized
from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.models.hierarchical_pixel_vae import HierarchicalPixelVAE, hierarchical_pixel_vae
from pyro_exact.models.iaf_vae import ResNetVAE, iaf_vae
from pyro_exact.models.mixed import Mixed
from pyro_exact.models.order_agnostic import OrderAgnostic
from pyro_exact.models.pair import Pair
from pyro_exact.models.pixel_vae import pixel_vae
from pyro_exact.models.repredicting_multi_scale import RepredictingMultiScale
from pyro_exact.models.vae import VAE

__all__ = [
    "VAE",
    "ConvDRAW",
    "Density",
    "Dequantized",
    "GenerativeModel",
    "HierarchicalPixelVAE",
    "Mixed",
    "OrderAgnostic",
    "Pair",
    "RepredictingMultiScale",
    "ResNetVAE",
    "conv_vae",
    "dense_vae",
    "hierarchical_pixel_vae",
    "iaf_vae",
    "pixel_vae",
]
