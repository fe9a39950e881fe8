"""A standard normal vector, times a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor

from pyro_exact.checks import check_tensor


class IsotropicNormal(Independent):
    r"""Independent N(0, scale²) elements of a vector, with the density in closed form.

    .. math:: \log p(z) = -\frac{|z|^2}{2 s^2} - D \log(s \sqrt{2 \pi})

    This is ``Normal(0, scale).to_event(1)`` with fewer operations. Use it when a flow is small.

    Args:
        origin: Zeros, of shape (\*batch, dim).
        scale: Standard deviation :math:`s`.
    """

    def __init__(self, origin: Tensor, scale: float = 1.0) -> None:
        self.scale = scale
        normal = Normal(origin, torch.full_like(origin, scale), validate_args=False)
        super().__init__(normal, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        check_tensor("A normal", "value", value)
        shape = self.batch_shape + self.event_shape
        if value.shape[-len(shape) :] != shape:
            value = value.expand(torch.broadcast_shapes(value.shape, shape))

        z = value if self.scale == 1 else value / self.scale
        constant = shape[-1] * math.log(self.scale * math.sqrt(2 * math.pi))

        return z.square().sum(-1) * -0.5 - constant

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> IsotropicNormal:
        origin = self.base_dist.loc
        return IsotropicNormal(origin.expand(*batch_shape, origin.shape[-1]), self.scale)
