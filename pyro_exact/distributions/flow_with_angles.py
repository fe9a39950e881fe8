"""A flow of vectors of which some elements are angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import check_event, check_tensor
from pyro_exact.distributions.batch import Shape, expanded
from pyro_exact.distributions.flow import Flow


class FlowWithAngles(nn.Module):
    r"""A flow of vectors of which some elements are periodic. Use it for a table with angles.

    .. math:: p(x) = p(\theta)\, p(r \mid \cos\theta, \sin\theta)

    Here :math:`\theta` are the periodic and r the remaining elements, so no density has a jump
    where a period ends.

    Args:
        flow: A `Flow` of the remaining elements, with a context of twice as many elements as there
            are angles.
        angles: A `Flow` of the periodic elements, for example of `flows.circular_spline`.
        period: Length of the period of each element; 0 for an element that is not periodic.

    Raises:
        ValueError: If the sizes of the flows do not fit the periods.

    Example:
        >>> from pyro_exact.distributions import StandardNormal, UniformBox
        >>> from pyro_exact.flows import circular_spline, maf
        >>> angles = Flow(UniformBox(1), circular_spline(1).inv)
        >>> flow = Flow(StandardNormal(1), maf(1, context_dim=2).inv)
        >>> FlowWithAngles(flow, angles, period=[6.2832, 0.0])().sample((5,)).shape
        torch.Size([5, 2])
    """

    period: Tensor
    periodic: Tensor

    def __init__(self, flow: Flow, angles: Flow, period: Sequence[float]) -> None:
        super().__init__()
        periods = torch.tensor([float(length) for length in period])
        count = int((periods > 0).sum())
        given = flow.bijection.context_shape
        if given != (2 * count,) or count == len(periods):
            raise ValueError(
                f"FlowWithAngles expects a flow with a context of {2 * count} elements, for "
                f"{count} angles of {len(periods)} elements; got {given}. Compare "
                f"context_dim and period."
            )
        self.flow, self.angles = flow, angles
        self.register_buffer("period", periods[periods > 0], persistent=False)
        self.register_buffer("periodic", periods > 0, persistent=False)

    def forward(self, temperature: float | None = None) -> AnglesDistribution:
        """Return the distribution; the temperature is that of the flow of remaining elements."""
        return AnglesDistribution(self, temperature=temperature)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the periodic and the remaining elements."""
        return x[..., self.periodic], x[..., ~self.periodic]

    def join(self, angles: Tensor, rest: Tensor) -> Tensor:
        """Return the vectors with these elements: the inverse of `split`."""
        x = rest.new_empty(*rest.shape[:-1], len(self.periodic))
        x[..., self.periodic] = angles
        x[..., ~self.periodic] = rest
        return x

    def features(self, angles: Tensor) -> Tensor:
        """Return the cosine and the sine of angles, the context of the flow."""
        turn = 2 * math.pi * angles / self.period
        return torch.cat([turn.cos(), turn.sin()], dim=-1)


class AnglesDistribution(TorchDistribution):
    """The distribution of a `FlowWithAngles`.

    Args:
        module: The flows.
        batch_shape: Batch shape.
        temperature: As in `Flow`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self, module: FlowWithAngles, batch_shape: Shape = (), temperature: float | None = None
    ) -> None:
        self.module, self.temperature = module, temperature
        super().__init__(torch.Size(batch_shape), module.periodic.shape, validate_args=False)

    def expand(self, batch_shape: Shape, _instance: object = None) -> AnglesDistribution:
        batch_shape = expanded("FlowWithAngles", self.batch_shape, batch_shape)
        return AnglesDistribution(self.module, batch_shape, self.temperature)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        module = self.module
        angles = module.angles().sample(torch.Size(sample_shape) + self.batch_shape)
        given = module.flow.condition(module.features(angles), self.temperature)
        return module.join(angles, given.sample())

    def log_prob(self, value: Tensor) -> Tensor:
        check_tensor("FlowWithAngles", "x", value)
        check_event("FlowWithAngles", "x", value, self.event_shape)
        module = self.module
        angles, rest = module.split(value)
        given = module.flow.condition(module.features(angles))

        # log p(angles) + log p(rest | angles)
        log_prob: Tensor = module.angles().log_prob(angles) + given.log_prob(rest)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))
