"""Networks in pure torch: tensors in, tensors out."""

from pyro_exact.nn.conditioner import ConvConditioner, DenseConditioner, PriorConditioner
from pyro_exact.nn.convolution import ScaledConv2d
from pyro_exact.nn.masked import MaskedDense
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.statistics import channel_statistics

__all__ = [
    "ConvConditioner",
    "DenseConditioner",
    "MaskedDense",
    "Parameters",
    "PriorConditioner",
    "ScaledConv2d",
    "channel_statistics",
]
