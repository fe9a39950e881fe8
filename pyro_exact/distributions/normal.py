"""Normals whose standard deviation is kept large enough for a finite density."""

from __future__ import annotations

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.nn.precision import least_std


def softplus_normal(mean: Tensor, raw: Tensor) -> Normal:
    """Return normals with the standard deviations log(1 + e^raw), of float32 at least.

    This is also true under autocast, because a divergence uses differences of log-densities.
    """
    dtype = torch.promote_types(mean.dtype, torch.float32)
    return Normal(mean.to(dtype), F.softplus(raw.to(dtype)) + least_std(dtype))


def exponential_normal(mean: Tensor, log_std: Tensor) -> Normal:
    """Return normals with the standard deviations e^log_std; see `softplus_normal`."""
    dtype = torch.promote_types(mean.dtype, torch.float32)
    return Normal(mean.to(dtype), log_std.to(dtype).exp() + least_std(dtype))
