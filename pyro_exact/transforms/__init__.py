"""Flow layers: one a file, each a `Bijection` with both directions, plain or conditional."""

from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.batch_norm import BatchNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.conv1x1 import Conv1x1
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.diagonal_affine import DiagonalAffine
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.factor_out import FactorOut
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.householder import Householder
from pyro_exact.transforms.inverse import Inverse
from pyro_exact.transforms.linear_lu import LinearLU
from pyro_exact.transforms.logit import Logit
from pyro_exact.transforms.masked_autoregressive import MaskedAutoregressive
from pyro_exact.transforms.mixture_cdf import MixtureCDF
from pyro_exact.transforms.parallel import Parallel
from pyro_exact.transforms.partition import Channels, Checkerboard, Columns, Halves, Partition
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.planar import Planar
from pyro_exact.transforms.radial import Radial
from pyro_exact.transforms.sigmoid_to_cell import SigmoidToCell
from pyro_exact.transforms.spline import Spline
from pyro_exact.transforms.squeeze import Squeeze
from pyro_exact.transforms.sylvester import Sylvester
from pyro_exact.transforms.token_autoregressive import TokenAutoregressive
from pyro_exact.transforms.tokens import Tokens

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "BatchNorm",
    "Bijection",
    "Channels",
    "Checkerboard",
    "Columns",
    "Compose",
    "Conditioned",
    "Conv1x1",
    "Coupling",
    "DiagonalAffine",
    "Elementwise",
    "FactorOut",
    "FixedAffine",
    "Flatten",
    "Halves",
    "Householder",
    "Inverse",
    "LinearLU",
    "Logit",
    "MaskedAutoregressive",
    "MixtureCDF",
    "Parallel",
    "Partition",
    "Permute",
    "Planar",
    "Radial",
    "SigmoidToCell",
    "Spline",
    "Squeeze",
    "Sylvester",
    "TokenAutoregressive",
    "Tokens",
]
