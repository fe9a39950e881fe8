"""Causal networks, one family a file: what `pyro_exact.distributions.Autoregressive` makes distributions of."""

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.completion import Completion
from pyro_exact.autoregressive.conditioned import Conditioned
from pyro_exact.autoregressive.conv_nade import ConvNADE
from pyro_exact.autoregressive.deep_nade import DeepNADE
from pyro_exact.autoregressive.diagonal_bilstm import DiagonalBiLSTM
from pyro_exact.autoregressive.gated_pixel_cnn import GatedPixelCNN
from pyro_exact.autoregressive.made import MADE
from pyro_exact.autoregressive.nade import NADE
from pyro_exact.autoregressive.order_agnostic_net import OrderAgnosticNet
from pyro_exact.autoregressive.pixel_cnn import PixelCNN
from pyro_exact.autoregressive.pixel_cnn_pp import PixelCNNpp
from pyro_exact.autoregressive.pixel_net import PixelNet
from pyro_exact.autoregressive.row_lstm import RowLSTM
from pyro_exact.autoregressive.scans import scans

__all__ = [
    "MADE",
    "NADE",
    "CausalNet",
    "Completion",
    "Conditioned",
    "ConvNADE",
    "DeepNADE",
    "DiagonalBiLSTM",
    "GatedPixelCNN",
    "OrderAgnosticNet",
    "PixelCNN",
    "PixelCNNpp",
    "PixelNet",
    "RowLSTM",
    "scans",
]
