"""Image Transformer."""

from pyro_exact.autoregressive.image_transformer.net import ImageTransformer

__all__ = ["ImageTransformer"]
