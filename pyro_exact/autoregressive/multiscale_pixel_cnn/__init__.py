"""Multiscale PixelCNN: a small image by any network, then three groups of pixels in each scale."""

from pyro_exact.autoregressive.multiscale_pixel_cnn.builder import multiscale_pixel_cnn
from pyro_exact.autoregressive.multiscale_pixel_cnn.net import MultiscalePixelCNN

__all__ = ["MultiscalePixelCNN", "multiscale_pixel_cnn"]
