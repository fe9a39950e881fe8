"""A normalising flow as a module that makes stock Pyro distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Distribution, TorchDistribution, TransformedDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor, nn
from torch.distributions import Distribution as TorchBase
from torch.distributions import constraints

from pyro_exact.checks import check_finite, check_number, check_size, check_tensor
from pyro_exact.distributions.bases import ClassNormal
from pyro_exact.distributions.isotropic_normal import IsotropicNormal
from pyro_exact.nn.precision import least_std
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import context_batch_shape
from pyro_exact.transforms.numerics import of_event


class StandardNormal(nn.Module):
    """The base of a flow: independent N(0, temperature²) elements, on the device of this module.

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
            temperature: Standard deviation of the noise, at least 0 and finite.

        Raises:
            ValueError: If the temperature is out of range.
        """
        if type(temperature) is float and temperature == 1:
            return IsotropicNormal(self.origin)

        temperature = check_number("StandardNormal", "temperature", temperature, least=0)

        # A normal of zero width has no density.
        return IsotropicNormal(self.origin, max(temperature, least_std(self.origin.dtype)))

    def extra_repr(self) -> str:
        return f"{len(self.origin)}"


class FlowDistribution(TransformedDistribution):  # type: ignore[misc]
    r"""The distribution of :math:`x = f(z)` for a bijection :math:`f`, as `Flow` returns it.

    This is a stock `TransformedDistribution` with less work inside: a score takes a single
    evaluation of the bijection, and the score of a sample takes no evaluation.

    Args:
        base: Distribution of the noise :math:`z`.
        bijection: From noise to data.
        context: Context of a conditional bijection; the batch shapes of context and base must
            broadcast, to the batch shape of this distribution.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.

    Raises:
        ValueError: If the noise or the context does not fit the bijection.
    """

    def __init__(
        self,
        base: TorchDistribution,
        bijection: Bijection,
        context: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if context is not None:
            batch = context_batch_shape(bijection, context)
            if batch != base.batch_shape:
                whole = base.batch_shape and torch.broadcast_shapes(base.batch_shape, batch)
                base = base.expand(whole or batch)

        missing = bijection.domain.event_dim - len(base.event_shape)
        if 0 < missing <= len(base.batch_shape):
            base = base.to_event(missing)

        # The base may have more event dimensions than the bijection, which then acts along them.
        self.extra_dims = len(base.event_shape) - bijection.domain.event_dim
        shape = bijection.output_shape(base.batch_shape + base.event_shape)
        cut = len(shape) - bijection.codomain.event_dim - self.extra_dims

        # A bijection whose context is already bound has another batch shape.
        if shape[:cut] != base.batch_shape:
            base = base.expand(shape[:cut])

        self.base_dist = base
        self.bijection = bijection
        self.context = context

        # The stock constructor would find the same shapes, in three times the time.
        TorchBase.__init__(self, shape[:cut], shape[cut:], validate_args)

    @property
    def transforms(self) -> list[Bijection]:
        """The transforms of a stock distribution: the bijection, with the context bound."""
        bijection = self.bijection
        context = self.context

        return [bijection if context is None else bijection.condition(context)]

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        return of_event(self.bijection.codomain, self.extra_dims)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = self.base_dist.rsample if self.base_dist.has_rsample else self.base_dist.sample
        return self.bijection.evaluate(draw(torch.Size(sample_shape)), self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        check_tensor("Flow", "x", value)
        if self._validate_args:
            self._validate_sample(value)

        bijection = self.bijection
        context = self.context
        shape = self.batch_shape + self.event_shape

        if context is not None and value.shape[-len(shape) :] != shape:
            bijection, context = bijection.condition(context), None  # which expands the value

        # log p(x) = log p(z) + log|det dz/dx|
        z, ladj = bijection.source_and_ladj(value, context)
        log_prob: Tensor = self.base_dist.log_prob(z) + sum_rightmost(ladj, self.extra_dims)

        return log_prob

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> FlowDistribution:
        base = self.base_dist.expand(torch.Size(batch_shape))
        return FlowDistribution(base, self.bijection, self.context, self._validate_args)


class Flow(nn.Module):
    r"""A normalising flow: the distribution of :math:`x = f(z)` for noise :math:`z` from a base.

    .. math:: \log p(x) = \log p(z) - \log|\det \partial f/\partial z|, \qquad z = f^{-1}(x)

    Use this module to turn a bijection into a distribution. An image flow is written data to noise,
    so the inverse must be used: ``Flow(StandardNormal(64), glow((1, 8, 8)).inv)``.

    Args:
        base: A module that returns a distribution when called, for example `StandardNormal`. (A
            distribution is accepted too, but does not move to another device with this module.) The
            context conditions a `ClassNormal` too.
        bijection: The map from noise to data.

    Raises:
        TypeError: If the bijection is not a `Bijection`.

    Example:
        >>> from pyro_exact.flows import glow
        >>> bijection = glow((1, 8, 8), levels=17, scales=2, steps=2, width=8)
        >>> flow = Flow(StandardNormal(64), bijection.inv)
        >>> flow().log_prob(flow().sample((5,))).shape
        torch.Size([5])
    """

    def __init__(self, base: nn.Module | Distribution, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection):
            raise TypeError(
                "Flow expects a Bijection, for example from pyro_exact.flows; got "
                f"{type(bijection).__name__}. Put several layers into transforms.Compose; "
                "transforms.Stock makes a layer of a stock transform."
            )

        self.base = base
        self.bijection = bijection

    @property
    def event_shape(self) -> torch.Size:
        """Shape of the data, also of a conditional flow."""
        base, bijection = self.noise(), self.bijection
        shape = bijection.forward_shape(base.batch_shape + base.event_shape)

        # A bijection that is conditioned on a batch of contexts adds the shape of the batch.
        extra_dims = max(len(base.event_shape) - bijection.domain.event_dim, 0)
        return shape[len(shape) - bijection.codomain.event_dim - extra_dims :]

    def forward(self, temperature: float | None = None) -> FlowDistribution:
        """Return the distribution of the data, a `TransformedDistribution`.

        Args:
            temperature: Standard deviation of the base noise, used when the base takes a
                temperature; 1 is the model itself.

        Raises:
            ValueError: If the flow needs a context.
        """
        if self.bijection.context_shape is not None:
            raise ValueError(
                "This flow expects a context of shape (*batch, "
                f"{', '.join(map(str, self.bijection.context_shape))}); got none. Call "
                "flow.condition(context) instead of flow()."
            )

        return self._distribution(temperature)

    def condition(self, context: Tensor, temperature: float | None = None) -> FlowDistribution:
        """Return the distribution given a context, with the batch shape of the context.

        Raises:
            ValueError: If the flow takes no context, or the context has another shape; with
                validation, if the context is not finite.
        """
        check_tensor("Flow.condition", "context", context)
        if self.bijection.context_shape is None and not isinstance(self.base, ClassNormal):
            raise ValueError(
                f"This flow expects no context; got a context of shape {tuple(context.shape)}. "
                "Call flow()."
            )

        distribution = self._distribution(temperature, context)
        if distribution._validate_args:
            check_finite("Flow.condition", "context", context, "Check the code that computes it")

        return distribution

    def _distribution(
        self, temperature: float | None, context: Tensor | None = None
    ) -> FlowDistribution:
        """Return the distribution of the data; raise an error for the opposite direction."""
        base = self.noise(temperature)
        if context is not None and isinstance(self.base, ClassNormal):
            base = self.base.condition(context)
            context = None if self.bijection.context_shape is None else context

        try:
            return FlowDistribution(base, self.bijection, context)
        except ValueError as error:
            shape = tuple(base.batch_shape + base.event_shape)
            raise ValueError(
                f"Flow expects a bijection from noise, here of shape {shape}, to data; got a "
                f"bijection that does not accept this shape: {error} A flow of images, such as "
                "glow, goes from data to noise: pass glow.inv."
            ) from None

    def noise(self, temperature: float | None = None) -> Any:
        """Return the distribution of the noise; the temperature is as in `forward`."""
        if isinstance(self.base, nn.Module):
            return self.base() if temperature is None else self.base(temperature)

        if temperature is not None:
            raise ValueError(
                "A temperature needs a base that is a module, such as StandardNormal; got a bare "
                "distribution. Leave the temperature out, or change the base."
            )

        return self.base
