"""Multi-Scale PixelRNN: a small image by one network, the other pixels by a conditional one."""

from pyro_exact.autoregressive.multi_scale_pixel_rnn.builder import multi_scale_pixel_rnn
from pyro_exact.autoregressive.multi_scale_pixel_rnn.net import MultiScalePixelRNN

__all__ = ["MultiScalePixelRNN", "multi_scale_pixel_rnn"]
