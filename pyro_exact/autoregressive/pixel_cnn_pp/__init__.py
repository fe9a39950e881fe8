"""PixelCNN++: two shifted streams at three resolutions."""

from pyro_exact.autoregressive.pixel_cnn_pp.net import PixelCNNpp

__all__ = ["PixelCNNpp"]
