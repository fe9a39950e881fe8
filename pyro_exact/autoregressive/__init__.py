"""Causal networks, one family a file: what `pyro_exact.distributions.Autoregressive` makes distributions of."""

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.gated_pixel_cnn import GatedPixelCNN
from pyro_exact.autoregressive.made import MADE
from pyro_exact.autoregressive.nade import NADE
from pyro_exact.autoregressive.pixel_cnn import PixelCNN
from pyro_exact.autoregressive.pixel_cnn_pp import PixelCNNpp
from pyro_exact.autoregressive.pixel_net import PixelNet

__all__ = ["MADE", "NADE", "CausalNet", "GatedPixelCNN", "PixelCNN", "PixelCNNpp", "PixelNet"]
