"""PixelCNN: masked convolutions."""

from pyro_exact.autoregressive.pixel_cnn.diagonal import DiagonalPixelCNN
from pyro_exact.autoregressive.pixel_cnn.net import PixelCNN

__all__ = ["DiagonalPixelCNN", "PixelCNN"]
