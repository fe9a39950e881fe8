"""A standard normal vector, times a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor
from torch.distributions import Distribution

from pyro_exact.checks import check_tensor
from pyro_exact.ops.scalar import scalar


class IsotropicNormal(Independent):
    r"""Independent N(0, scale²) elements of a vector, with the density in closed form.

    .. math:: \log p(z) = -\frac{|z|^2}{2 s^2} - D \log(s \sqrt{2 \pi})

    This is ``Normal(0, scale).to_event(1)`` with fewer operations. Use it when a flow is small.

    Args:
        origin: Zeros, of shape (\*batch, dim).
        scale: Standard deviation :math:`s`.
    """

    has_rsample = True
    _validate_args = False

    def __init__(self, origin: Tensor, scale: float = 1.0) -> None:
        self.origin = origin
        self.scale = scale
        self.reinterpreted_batch_ndims = 1

        # The constructor of the base class would build the stock normal.
        Distribution.__init__(self, origin.shape[:-1], origin.shape[-1:])

    @cached_property
    def base_dist(self) -> Normal:
        """The normal of each element."""
        width = torch.full_like(self.origin, self.scale)
        return Normal(self.origin, width, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        noise = torch.randn(shape, dtype=self.origin.dtype, device=self.origin.device)

        return noise if self.scale == 1 else noise * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        check_tensor("A normal", "value", value)
        shape = self.batch_shape + self.event_shape
        if value.shape[-len(shape) :] != shape:
            value = value.expand(torch.broadcast_shapes(value.shape, shape))

        z = value if self.scale == 1 else value / self.scale
        constant = shape[-1] * math.log(self.scale * math.sqrt(2 * math.pi))

        # Not a square, whose gradient takes three times as long.
        squares = (z * z).sum(-1)
        return squares * scalar(-0.5, squares) - scalar(constant, squares)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> IsotropicNormal:
        return IsotropicNormal(self.origin.expand(*batch_shape, -1), self.scale)
