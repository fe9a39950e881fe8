"""Uniform dequantisation noise."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

Shape = torch.Size | list[int] | tuple[int, ...]


class UniformDequantizer(TorchDistribution):
    r"""The uniform distribution on [x, x + 1) around integer pixel levels x.

    .. math:: v = x + u, \quad u \sim U[0, 1), \qquad \log q(v \mid x) = 0 \text{ nats where } \lfloor v \rfloor = x

    In float32 x + u can round up to x + 1, which would be another image; such a sample becomes the largest number
    below.

    Args:
        x: Pixel levels, a floating-point tensor that holds integers, of shape (\*batch, C, H, W).
        event_dim: Number of dimensions of one image.

    Example:
        >>> x = torch.full((2, 1, 4, 4), 255.0)
        >>> bool((UniformDequantizer(x).sample().floor() == x).all())
        True
    """

    has_rsample = True

    def __init__(self, x: Tensor, event_dim: int = 3) -> None:
        self.x = x
        cut = x.dim() - event_dim
        super().__init__(x.shape[:cut], x.shape[cut:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.half_open_interval(self.x, self.x + 1), len(self.event_shape))

    def expand(self, batch_shape: Shape, _instance: object = None) -> UniformDequantizer:
        batch_shape = torch.Size(batch_shape)
        return UniformDequantizer(self.x.expand(batch_shape + self.event_shape), len(self.event_shape))

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        x = self.x.expand(torch.Size(sample_shape) + self.x.shape)
        return torch.minimum(x + torch.rand_like(x), torch.nextafter(x + 1, x))

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return 0 nats where the value lies in [x, x + 1), else minus infinity, of shape (\*batch)."""
        log_prob = (value.floor() == self.x).to(value.dtype).log()
        event = list(range(-len(self.event_shape), 0))
        return log_prob.sum(event) if event else log_prob
