"""Gated PixelCNN: a vertical and a horizontal stack of gated convolutions."""

from pyro_exact.autoregressive.gated_pixel_cnn.net import GatedPixelCNN

__all__ = ["GatedPixelCNN"]
