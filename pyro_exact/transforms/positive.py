"""Maps of the real line to the positive half-line."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.checks import check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import (
    LARGEST_EVENT_DIM,
    at_least_float32,
    of_event,
)
from pyro_exact.transforms.parts import sum_event


class Positive(Bijection):
    r"""Base class of layers that map every element to a positive element.

    The ``codomain`` is the positive half-line. Elsewhere the inverse is NaN.

    Args:
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.
    """

    def __init__(self, event_dim: int = 1) -> None:
        name = type(self).__name__
        event_dim = check_size(name, "event_dim", event_dim, least=0, most=LARGEST_EVENT_DIM)
        super().__init__([None] * event_dim)
        self.codomain = of_event(constraints.positive, event_dim)

    @abstractmethod
    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log-derivative of each element."""

    @abstractmethod
    def unmap(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and the log-derivative of the map there, of each positive element."""

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        y, log_slope = self.map(*at_least_float32(x))
        return y, sum_event(log_slope, self.domain.event_dim)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (y,) = at_least_float32(y)
        x, log_slope = self.unmap(y.where(y > 0, math.nan))
        return x, sum_event(-log_slope, self.domain.event_dim)

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"event_dim={self.domain.event_dim}"


class Exponential(Positive):
    r"""Take the exponential of each element.

    Use this layer for a flow of positive data, for example prices or rates.

    .. math:: y = e^x, \qquad \log|\det \partial y/\partial x| = \sum x

    Beyond about 88 in float32, and 709 in float64, ``y`` overflows; `Softplus` should be used for
    such elements.

    Args:
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.

    Cost:
        - forward: an exponential for each element.
        - inverse: closed form, a logarithm for each element.

    Shape:
        - x, y: (\*batch, \*event); ladj: (\*batch).

    Example:
        >>> Exponential()(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 2.7183])
    """

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # The smallest positive element, where e^x rounds to zero.
        return x.exp().clamp(min=torch.finfo(x.dtype).tiny), x

    def unmap(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x = y.log()
        return x, x


class Softplus(Positive):
    r"""Map each element to a positive element, close to it when it is large.

    Use this layer for positive data.

    .. math::
        y = \log (1 + e^x), \qquad
        \log|\det \partial y/\partial x| = \sum \log \sigma(x)

    Args:
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.

    Cost:
        - forward: an exponential and a logarithm for each element.
        - inverse: closed form, the same.

    Shape:
        - x, y: (\*batch, \*event); ladj: (\*batch).

    Example:
        >>> Softplus()(torch.tensor([0.0, 100.0]))
        tensor([  0.6931, 100.0000])
    """

    def map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # log(1 + e^x) = max(x, 0) + log(1 + e^{-|x|}); the stock function stops at x = 20
        tail = (-x.abs()).exp().log1p()
        y = x.clamp(min=0) + tail
        tiny = torch.finfo(x.dtype).tiny
        return y.clamp(min=tiny), F.logsigmoid(x)

    def unmap(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # x = log(e^y - 1) = y + log(1 - e^{-y}), and sigma(x) = 1 - e^{-y}
        log_slope = (-(-y).expm1()).log()
        return y + log_slope, log_slope
