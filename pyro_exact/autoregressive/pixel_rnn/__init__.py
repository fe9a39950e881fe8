"""PixelRNN: LSTM layers that scan an image, by rows or by diagonals."""

from pyro_exact.autoregressive.pixel_rnn.diagonal_bilstm import DiagonalBiLSTM
from pyro_exact.autoregressive.pixel_rnn.net import PixelRNN
from pyro_exact.autoregressive.pixel_rnn.row_lstm import RowLSTM

__all__ = ["DiagonalBiLSTM", "PixelRNN", "RowLSTM"]
