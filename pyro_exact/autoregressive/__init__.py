"""Autoregressive models: causal networks by family, and the distribution of a network."""

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.gated_pixel_cnn import GatedPixelCNN
from pyro_exact.autoregressive.image_transformer import ImageTransformer
from pyro_exact.autoregressive.made import MADE
from pyro_exact.autoregressive.multi_scale_pixel_rnn import (
    MultiScalePixelRNN,
    multi_scale_pixel_rnn,
)
from pyro_exact.autoregressive.multiscale_net import MultiscaleNet
from pyro_exact.autoregressive.multiscale_pixel_cnn import (
    MultiscalePixelCNN,
    multiscale_pixel_cnn,
)
from pyro_exact.autoregressive.nade import NADE
from pyro_exact.autoregressive.order_agnostic import (
    Completion,
    ConditionalNet,
    ConvNADE,
    DeepNADE,
    OrderAgnosticNet,
)
from pyro_exact.autoregressive.pixel_cnn import DiagonalPixelCNN, PixelCNN
from pyro_exact.autoregressive.pixel_cnn_pp import PixelCNNpp
from pyro_exact.autoregressive.pixel_net import PixelNet
from pyro_exact.autoregressive.pixel_rnn import DiagonalBiLSTM, RowLSTM
from pyro_exact.autoregressive.pixel_snail import PixelSNAIL
from pyro_exact.autoregressive.scans import scans

__all__ = [
    "MADE",
    "NADE",
    "Autoregressive",
    "CausalNet",
    "Completion",
    "ConditionalNet",
    "ConvNADE",
    "DeepNADE",
    "DiagonalBiLSTM",
    "DiagonalPixelCNN",
    "GatedPixelCNN",
    "ImageTransformer",
    "MultiScalePixelRNN",
    "MultiscaleNet",
    "MultiscalePixelCNN",
    "OrderAgnosticNet",
    "PixelCNN",
    "PixelCNNpp",
    "PixelNet",
    "PixelSNAIL",
    "RowLSTM",
    "multi_scale_pixel_rnn",
    "multiscale_pixel_cnn",
    "scans",
]
