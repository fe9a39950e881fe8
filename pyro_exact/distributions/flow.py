"""A normalising flow as a module that makes stock Pyro distributions."""

from __future__ import annotations

import math

import torch
from pyro.distributions import Distribution, Normal, TransformedDistribution
from torch import Tensor, nn

from pyro_exact.distributions.normal import least_std
from pyro_exact.transforms.bijection import Bijection


class StandardNormal(nn.Module):
    """The base of a flow: independent N(0, temperature²) numbers, on the device of the module.

    Args:
        dim: Dimension of the vector.

    Example:
        >>> StandardNormal(4)().event_shape
        torch.Size([4])
    """

    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(dim), persistent=False)

    def forward(self, temperature: float = 1.0) -> Distribution:
        """Return the distribution.

        Args:
            temperature: Its standard deviation, at least 0 and finite.

        Raises:
            ValueError: If the temperature is out of range.
        """
        if not 0 <= temperature < math.inf:
            raise ValueError(f"StandardNormal expects a finite temperature of at least 0; got {temperature}.")
        scale = max(temperature, least_std(self.origin.dtype))  # a normal of zero width has no density
        return Normal(self.origin, torch.full_like(self.origin, scale), validate_args=False).to_event(1)

    def extra_repr(self) -> str:
        return f"{len(self.origin)}"


class Flow(nn.Module):
    r"""The distribution of :math:`x = f(z)` for noise :math:`z` from a base: what decides which side is the data.

    .. math:: \log p(x) = \log p(z) - \log|\det \partial f/\partial z|, \qquad z = f^{-1}(x)

    An image flow is written data to noise, so pass its inverse: ``Flow(StandardNormal(64), glow((1, 8, 8)).inv)``.

    Args:
        base: A module that returns a distribution when called, such as `StandardNormal`. (A bare distribution is
            accepted too, but does not move with the module to another device.)
        bijection: The map from noise to data.

    Example:
        >>> from pyro_exact.flows import glow
        >>> flow = Flow(StandardNormal(64), glow((1, 8, 8), levels=17, scales=2, depth=2, width=8).inv)
        >>> flow().log_prob(flow().sample((5,))).shape
        torch.Size([5])
    """

    def __init__(self, base: nn.Module | Distribution, bijection: Bijection) -> None:
        super().__init__()
        self.base, self.bijection = base, bijection

    def forward(self, temperature: float | None = None) -> TransformedDistribution:
        """Return the distribution of the data, a stock `TransformedDistribution`.

        Args:
            temperature: Standard deviation of the base noise, where the base has one; 1 is the model itself.

        Raises:
            ValueError: If the flow needs a context.
        """
        if self.bijection.context_shape is not None:
            raise ValueError(
                f"This flow expects a context of shape (*batch, {', '.join(map(str, self.bijection.context_shape))}); "
                f"got none. Call flow.condition(context) instead of flow()."
            )
        return TransformedDistribution(self._base(temperature), [self.bijection])

    def condition(self, context: Tensor, temperature: float | None = None) -> TransformedDistribution:
        """Return the distribution given a context; its batch shape is that of the context.

        Raises:
            ValueError: If the flow takes no context, or one of another shape.
        """
        if self.bijection.context_shape is None:
            raise ValueError(f"This flow takes no context; got one of shape {tuple(context.shape)}. Call flow().")
        return TransformedDistribution(self._base(temperature), [self.bijection.condition(context)])

    def _base(self, temperature: float | None) -> Distribution:
        if isinstance(self.base, nn.Module):
            base: Distribution = self.base() if temperature is None else self.base(temperature)
            return base
        if temperature is not None:
            raise ValueError("A temperature needs a base that is a module, such as StandardNormal.")
        return self.base
