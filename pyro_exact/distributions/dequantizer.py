"""Dequantisation noise: uniform, or a flow that sees the image."""

from __future__ import annotations

from math import prod
from typing import ClassVar, cast

import torch
from pyro.distributions import TorchDistribution, TransformedDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import (
    check_broadcast,
    check_event,
    check_floating,
    check_numbers,
    check_size,
    check_tensor,
)
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.distributions.flow import Flow, StandardNormal
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.conditioned import Conditioned


class UniformDequantizer(TorchDistribution):
    r"""The uniform distribution on [x, x + 1), used as dequantisation noise of pixel levels x.

    .. math:: v = x + u, \quad u \sim U[0, 1), \qquad
        \log q(v \mid x) = 0 \text{ nats where } \lfloor v \rfloor = x

    In float32 x + u can round up to x + 1, which would be another image; such a sample becomes the
    largest value below.

    Args:
        x: Pixel levels, a floating-point tensor that holds integers, of shape (\*batch, C, H, W).
        event_dim: Dimensions of a single image.
        discrete: Optional mask of an event; elements outside of it are real, and get no noise.

    Example:
        >>> x = torch.full((2, 1, 4, 4), 255.0)
        >>> bool((UniformDequantizer(x).sample().floor() == x).all())
        True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, x: Tensor, event_dim: int = 3, discrete: Tensor | None = None) -> None:
        self.x = x = check_floating("UniformDequantizer", "x", x)
        self.discrete = discrete
        event_dim = check_size("UniformDequantizer", "event_dim", event_dim, least=0, most=x.dim())
        cut = x.dim() - event_dim
        super().__init__(x.shape[:cut], x.shape[cut:], validate_args=False)

    def __repr__(self) -> str:
        return shapes_of(self)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(
            constraints.half_open_interval(self.x, self.x + 1), len(self.event_shape)
        )

    def expand(self, batch_shape: Shape, _instance: object = None) -> UniformDequantizer:
        batch_shape = expanded("UniformDequantizer", self.batch_shape, batch_shape)
        x = self.x.expand(batch_shape + self.event_shape)
        return UniformDequantizer(x, len(self.event_shape), self.discrete)

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        x = self.x.expand(checked_shape("UniformDequantizer.sample", sample_shape) + self.x.shape)
        v = torch.minimum(x + torch.rand_like(x), torch.nextafter(x + 1, x))
        return v if self.discrete is None else torch.where(self.discrete, v, x)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return 0 nats in [x, x + 1), and minus infinity elsewhere, of shape (\*batch)."""
        _check_value(self, "UniformDequantizer.log_prob", value)
        cell = value.floor()
        if self.discrete is not None:
            cell = torch.where(self.discrete, cell, value)
        log_prob = (cell == self.x).to(self.x.dtype).log().where(~value.isnan(), torch.nan)
        event = list(range(-len(self.event_shape), 0))

        return log_prob.sum(event) if event else log_prob


class CellFlow(TransformedDistribution):  # type: ignore[misc]
    """The distribution of a `FlowDequantizer`: a flow into [x, x + 1)."""

    def expand(self, batch_shape: Shape, _instance: object = None) -> CellFlow:
        new: CellFlow = super().expand(
            expanded("FlowDequantizer", self.batch_shape, batch_shape), _instance
        )
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return the log-density, minus infinity outside of the cell, of shape (\*batch)."""
        _check_value(self, "FlowDequantizer.log_prob", value)
        flow = cast(Conditioned, self.transforms[0])
        event = -len(self.event_shape)
        inside = (value.floor() == flow.context).flatten(event).all(-1)
        log_prob: Tensor = super().log_prob(value)

        return log_prob.where(inside, -torch.inf).where(
            ~value.isnan().flatten(event).any(-1), torch.nan
        )


class FlowDequantizer(nn.Module):
    r"""Variational dequantisation noise: a flow q(v | x) that is conditioned on the image.

    .. math:: v = f(\epsilon; x) \in [x, x + 1), \quad \epsilon \sim N(0, I), \qquad
        \log q(v \mid x) = \log N(\epsilon; 0, I) - \log|\det \partial f/\partial \epsilon|

    Args:
        bijection: A conditional map from a vector of noise to [x, x + 1), which must use the image
            x as context, for example `pyro_exact.flows.flow_pp_dequantizer`.

    Shape:
        - x: (\*batch, C, H, W), pixel levels; the distribution has that batch shape and events (C,
          H, W).

    Raises:
        ValueError: If the bijection takes no context.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.1, equations 5-6.

    Example:
        >>> from pyro_exact.flows import flow_pp_dequantizer
        >>> noise = FlowDequantizer(flow_pp_dequantizer((1, 4, 4), width=8, depth=1, components=2))
        >>> x = torch.randint(256, (5, 1, 4, 4)).float()
        >>> bool((noise(x).sample().floor() == x).all())
        True
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        if bijection.context_shape is None:
            raise ValueError(
                "FlowDequantizer expects a bijection whose context is the image; got a bijection "
                "without context. Build it with a context_shape, or use "
                "flows.flow_pp_dequantizer."
            )

        self.flow = Flow(StandardNormal(prod(bijection.context_shape)), bijection)

    def forward(self, x: Tensor) -> TransformedDistribution:
        """Return q(v | x)."""
        check_tensor("FlowDequantizer", "x", x)
        flow = self.flow.condition(x)

        return CellFlow(flow.base_dist, flow.transforms, validate_args=False)

    def initialize(self, x: Tensor) -> Tensor:
        """Set the parameters that depend on data using images; return samples of q(v | x)."""
        return self.flow.bijection.initialize(self.flow.base().sample(x.shape[:1]), x)


def _check_value(d: TorchDistribution, name: str, value: Tensor) -> None:
    """Raise an error if a value that is scored has another type or shape."""
    check_numbers(name, "value", check_floating(name, "value", value))
    check_broadcast(
        name, "value", check_event(name, "value", value, d.event_shape), "x", d.batch_shape
    )
