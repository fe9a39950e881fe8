"""A normalising flow as a module that makes stock Pyro distributions."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Distribution, Normal, TransformedDistribution
from torch import Tensor, nn

from pyro_exact.checks import check_finite, check_number, check_size, check_tensor
from pyro_exact.nn.precision import least_std
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
        self.register_buffer(
            "origin", torch.zeros(check_size("StandardNormal", "dim", dim)), persistent=False
        )

    def forward(self, temperature: float = 1.0) -> Distribution:
        """Return the distribution.

        Args:
            temperature: Its standard deviation, at least 0 and finite.

        Raises:
            ValueError: If the temperature is out of range.
        """
        temperature = check_number("StandardNormal", "temperature", temperature, least=0)
        scale = max(
            temperature, least_std(self.origin.dtype)
        )  # a normal of zero width has no density
        return Normal(
            self.origin, torch.full_like(self.origin, scale), validate_args=False
        ).to_event(1)

    def extra_repr(self) -> str:
        return f"{len(self.origin)}"


class Flow(nn.Module):
    r"""The distribution of :math:`x = f(z)` for noise :math:`z` from a base: what decides which side is the data.

    .. math:: \log p(x) = \log p(z) - \log|\det \partial f/\partial z|, \qquad z = f^{-1}(x)

    An image flow is written data to noise, so pass its inverse: ``Flow(StandardNormal(64), glow((1,
    8, 8)).inv)``.

    Args:
        base: A module that returns a distribution when called, such as `StandardNormal`. (A bare
            distribution is accepted too, but does not move with the module to another device.)
        bijection: The map from noise to data.

    Raises:
        TypeError: If the bijection is none of ours.

    Example:
        >>> from pyro_exact.flows import glow
        >>> flow = Flow(StandardNormal(64), glow((1, 8, 8), levels=17, scales=2, steps=2, width=8).inv)
        >>> flow().log_prob(flow().sample((5,))).shape
        torch.Size([5])
    """

    def __init__(self, base: nn.Module | Distribution, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection):
            raise TypeError(
                f"Flow expects a Bijection, such as those of pyro_exact.flows; got {type(bijection).__name__}. Put "
                f"several layers into transforms.Compose; with transforms of Pyro, use its TransformedDistribution."
            )
        self.base, self.bijection = base, bijection

    def forward(self, temperature: float | None = None) -> TransformedDistribution:
        """Return the distribution of the data, a stock `TransformedDistribution`.

        Args:
            temperature: Standard deviation of the base noise, where the base has one; 1 is the
                model itself.

        Raises:
            ValueError: If the flow needs a context.
        """
        if self.bijection.context_shape is not None:
            raise ValueError(
                f"This flow expects a context of shape (*batch, {', '.join(map(str, self.bijection.context_shape))}); "
                f"got none. Call flow.condition(context) instead of flow()."
            )
        return self._distribution(temperature, self.bijection)

    def condition(
        self, context: Tensor, temperature: float | None = None
    ) -> TransformedDistribution:
        """Return the distribution given a context; its batch shape is that of the context.

        Raises:
            ValueError: If the flow takes no context, or one of another shape; with validation, if
                it is not finite.
        """
        check_tensor("Flow.condition", "context", context)
        if self.bijection.context_shape is None:
            raise ValueError(
                f"This flow takes no context; got one of shape {tuple(context.shape)}. Call flow()."
            )
        distribution = self._distribution(temperature, self.bijection.condition(context))
        if distribution._validate_args:
            check_finite(
                "Flow.condition", "context", context, "Repair it, or look at what computed it"
            )
        return distribution

    def _distribution(
        self, temperature: float | None, bijection: Bijection
    ) -> TransformedDistribution:
        """Return the distribution behind a bijection, or say that it goes the other way."""
        base = self.noise(temperature)
        try:
            return TransformedDistribution(base, [bijection])
        except ValueError as error:
            shape = tuple(base.batch_shape + base.event_shape)
            raise ValueError(
                f"Flow expects a bijection from noise, here of shape {shape}, to data; got one that does not "
                f"take it: {error} A flow of images, such as glow, goes from data to noise: pass glow.inv."
            ) from None

    def noise(self, temperature: float | None = None) -> Any:
        """Return the distribution of the noise; the temperature is as in `forward`."""
        if isinstance(self.base, nn.Module):
            return self.base() if temperature is None else self.base(temperature)
        if temperature is not None:
            raise ValueError(
                "A temperature needs a base that is a module, such as StandardNormal; got a bare distribution. Leave "
                "the temperature out, or change the base."
            )
        return self.base
