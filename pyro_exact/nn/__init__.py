"""Networks that are used by flows and models; these are plain torch modules."""

from pyro_exact.nn.attention import AttentionConditioner, FlowPPContextNet
from pyro_exact.nn.conditioner import (
    CausalConditioner,
    Conditioner,
    ConvConditioner,
    DenseConditioner,
    PriorConditioner,
)
from pyro_exact.nn.convolution import ScaledConv2d
from pyro_exact.nn.dense import DenseDecoder, DenseEncoder
from pyro_exact.nn.gated_convolution import GatedConvDecoder, GatedConvEncoder
from pyro_exact.nn.graph_dense import GraphDense
from pyro_exact.nn.iaf_convolution import MaskedConvNet
from pyro_exact.nn.masked_convolution import MaskedConv2d
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.rescaled import RescaledConv2d
from pyro_exact.nn.residual import ResidualConditioner, WeightNormConv2d
from pyro_exact.nn.statistics import channel_statistics
from pyro_exact.nn.token_conditioner import TokenConditioner
from pyro_exact.nn.transformer import CausalTransformer, TransformerConditioner
from pyro_exact.nn.velocity import Velocity

__all__ = [
    "AttentionConditioner",
    "CausalConditioner",
    "CausalTransformer",
    "Conditioner",
    "ConvConditioner",
    "DenseConditioner",
    "DenseDecoder",
    "DenseEncoder",
    "FlowPPContextNet",
    "GatedConvDecoder",
    "GatedConvEncoder",
    "GraphDense",
    "MaskedConv2d",
    "MaskedConvNet",
    "MaskedDense",
    "Parameters",
    "PriorConditioner",
    "RescaledConv2d",
    "ResidualConditioner",
    "ScaledConv2d",
    "TokenConditioner",
    "TransformerConditioner",
    "Velocity",
    "WeightNormConv2d",
    "channel_statistics",
]
