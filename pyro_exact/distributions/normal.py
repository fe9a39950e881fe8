"""Normal distributions of every width, down to the smallest whose density is a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor
from torch.nn import functional as F


class IsotropicNormal(Independent):
    r"""Independent N(0, scale²) elements of a vector, with the density in closed form.

    .. math:: \log p(z) = -\frac{|z|^2}{2 s^2} - D \log(s \sqrt{2 \pi})

    It is ``Normal(0, scale).to_event(1)`` with fewer operations, which count where a flow is small.

    Args:
        origin: Zeros, of shape (\*batch, dim).
        scale: Standard deviation :math:`s`.
    """

    def __init__(self, origin: Tensor, scale: float = 1.0) -> None:
        self.scale = scale
        normal = Normal(origin, torch.full_like(origin, scale), validate_args=False)
        super().__init__(normal, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        shape = self.batch_shape + self.event_shape
        if value.shape[-len(shape) :] != shape:
            value = value.expand(torch.broadcast_shapes(value.shape, shape))

        z = value if self.scale == 1 else value / self.scale
        constant = shape[-1] * math.log(self.scale * math.sqrt(2 * math.pi))
        return z.square().sum(-1) * -0.5 - constant

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> IsotropicNormal:
        origin = self.base_dist.loc
        return IsotropicNormal(origin.expand(*batch_shape, origin.shape[-1]), self.scale)


def least_std(dtype: torch.dtype) -> float:
    """Return the smallest standard deviation whose square, by which the density divides, is no less than tiny."""
    return float(torch.finfo(dtype).tiny ** 0.5)


def softplus_normal(mean: Tensor, raw: Tensor) -> Normal:
    """Return normals with the standard deviations log(1 + e^raw), of float32 at least.

    Under autocast too: a divergence takes differences of log-densities.
    """
    dtype = torch.promote_types(mean.dtype, torch.float32)
    return Normal(mean.to(dtype), F.softplus(raw.to(dtype)) + least_std(dtype))


def exponential_normal(mean: Tensor, log_std: Tensor) -> Normal:
    """Return normals with the standard deviations e^log_std; see `softplus_normal`."""
    dtype = torch.promote_types(mean.dtype, torch.float32)
    return Normal(mean.to(dtype), log_std.to(dtype).exp() + least_std(dtype))
