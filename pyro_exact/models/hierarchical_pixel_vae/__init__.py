"""PixelVAE with two levels of latents."""

from pyro_exact.models.hierarchical_pixel_vae.builder import hierarchical_pixel_vae
from pyro_exact.models.hierarchical_pixel_vae.model import HierarchicalPixelVAE

__all__ = ["HierarchicalPixelVAE", "hierarchical_pixel_vae"]
