"""Flow layers: each is a `Bijection` that computes both directions, plain or conditional."""

from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.batch_norm import BatchNorm
from pyro_exact.transforms.bernstein import Bernstein
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.block_autoregressive import BlockAutoregressive
from pyro_exact.transforms.circular_spline import CircularSpline
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.continuous_flow import ContinuousFlow
from pyro_exact.transforms.conv1x1 import Conv1x1
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.diagonal_affine import DiagonalAffine
from pyro_exact.transforms.discrete_cosine import DiscreteCosine
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.factor_out import FactorOut
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.gin import GIN
from pyro_exact.transforms.haar import Haar, HaarSqueeze
from pyro_exact.transforms.householder import Householder
from pyro_exact.transforms.interval import Interval
from pyro_exact.transforms.inverse import Inverse
from pyro_exact.transforms.lambert_w import LambertW
from pyro_exact.transforms.limits import Limits
from pyro_exact.transforms.linear_low_rank import LinearLowRank
from pyro_exact.transforms.linear_lu import LinearLU
from pyro_exact.transforms.linear_qr import LinearQR
from pyro_exact.transforms.linear_rational_spline import LinearRationalSpline
from pyro_exact.transforms.linear_svd import LinearSVD
from pyro_exact.transforms.linear_triangular import LinearTriangular
from pyro_exact.transforms.logit import Logit
from pyro_exact.transforms.marginal import Marginal
from pyro_exact.transforms.masked_autoregressive import MaskedAutoregressive
from pyro_exact.transforms.matrix_exponential import MatrixExponential, Rotation
from pyro_exact.transforms.mixture_cdf import MixtureCDF
from pyro_exact.transforms.monotone_network import MonotoneNetwork
from pyro_exact.transforms.normal_mixture_cdf import NormalMixtureCDF
from pyro_exact.transforms.parallel import Parallel
from pyro_exact.transforms.partition import (
    Channels,
    Checkerboard,
    Columns,
    Halves,
    Partition,
)
from pyro_exact.transforms.periodic_conv import PeriodicConv
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.planar import Planar
from pyro_exact.transforms.positive import Exponential, Softplus
from pyro_exact.transforms.radial import Radial
from pyro_exact.transforms.sigmoid_to_cell import SigmoidToCell
from pyro_exact.transforms.sigmoidal import DeepSigmoidal, DenseSigmoidal
from pyro_exact.transforms.signed_power import SignedPower
from pyro_exact.transforms.sinh_arcsinh import SinhArcsinh
from pyro_exact.transforms.soft_clip import SoftClip
from pyro_exact.transforms.spline import Spline
from pyro_exact.transforms.squeeze import Squeeze
from pyro_exact.transforms.standardize import Standardize
from pyro_exact.transforms.stock import Stock
from pyro_exact.transforms.sum_of_squares import SumOfSquares
from pyro_exact.transforms.sylvester import Sylvester
from pyro_exact.transforms.token_autoregressive import TokenAutoregressive
from pyro_exact.transforms.tokens import Tokens

__all__ = [
    "GIN",
    "ActNorm",
    "Additive",
    "Affine",
    "BatchNorm",
    "Bernstein",
    "Bijection",
    "BlockAutoregressive",
    "Channels",
    "Checkerboard",
    "CircularSpline",
    "Columns",
    "Compose",
    "Conditioned",
    "ContinuousFlow",
    "Conv1x1",
    "Coupling",
    "DeepSigmoidal",
    "DenseSigmoidal",
    "DiagonalAffine",
    "DiscreteCosine",
    "Elementwise",
    "Exponential",
    "FactorOut",
    "FixedAffine",
    "Flatten",
    "Haar",
    "HaarSqueeze",
    "Halves",
    "Householder",
    "Interval",
    "Inverse",
    "LambertW",
    "Limits",
    "LinearLU",
    "LinearLowRank",
    "LinearQR",
    "LinearRationalSpline",
    "LinearSVD",
    "LinearTriangular",
    "Logit",
    "Marginal",
    "MaskedAutoregressive",
    "MatrixExponential",
    "MixtureCDF",
    "MonotoneNetwork",
    "NormalMixtureCDF",
    "Parallel",
    "Partition",
    "PeriodicConv",
    "Permute",
    "Planar",
    "Radial",
    "Rotation",
    "SigmoidToCell",
    "SignedPower",
    "SinhArcsinh",
    "SoftClip",
    "Softplus",
    "Spline",
    "Squeeze",
    "Standardize",
    "Stock",
    "SumOfSquares",
    "Sylvester",
    "TokenAutoregressive",
    "Tokens",
]
