"""PixelSNAIL."""

from pyro_exact.autoregressive.pixel_snail.net import PixelSNAIL

__all__ = ["PixelSNAIL"]
