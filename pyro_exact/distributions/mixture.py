"""Mixtures of flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Categorical
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions.constraints import Constraint

from pyro_exact.distributions.flow import Flow


class Mixture(nn.Module):
    r"""A mixture of flows with learned weights. Use it for data in clusters.

    .. math:: \log p(x) = \log \sum_k \pi_k\, p_k(x)

    A single flow would join the clusters by bridges. Samples have no gradient: this mixture should
    be used to fit data, and not in a guide.

    Args:
        flows: The components, at least one. All must have the same shape, and the same context if
            any.

    Raises:
        TypeError: If a component is not a `Flow`.
        ValueError: If there is no component.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.flows import maf
        >>> mixture = Mixture([Flow(StandardNormal(2), maf(2).inv) for _ in range(3)])
        >>> mixture().log_prob(mixture().sample((5,))).shape
        torch.Size([5])
    """

    def __init__(self, flows: Sequence[Flow]) -> None:
        super().__init__()
        flows = list(flows)

        if not flows:
            raise ValueError("Mixture expects at least one flow; got none. Pass a list of flows.")

        for flow in flows:
            if not isinstance(flow, Flow):
                raise TypeError(
                    f"Mixture expects flows of type Flow; got {type(flow).__name__}. Put each "
                    f"bijection into Flow(base, bijection)."
                )

        self.flows = nn.ModuleList(flows)
        self.logits = nn.Parameter(torch.zeros(len(flows)))

    def forward(self) -> MixtureDistribution:
        """Return the distribution."""
        return MixtureDistribution(self.logits, [flow() for flow in self.flows])

    def condition(self, context: Tensor) -> MixtureDistribution:
        """Return the distribution given a context, with the batch shape of the context."""
        parts = [flow.condition(context) for flow in self.flows]  # type: ignore[operator]
        return MixtureDistribution(self.logits, parts)


class MixtureDistribution(TorchDistribution):
    """A mixture of distributions of any type, with the same event shape and the same batch shape.

    Args:
        logits: Logits of the weights (K).
        parts: The K distributions.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.
    """

    arg_constraints: dict[str, Constraint] = {}  # noqa: RUF012, as in torch
    has_rsample = False

    def __init__(
        self,
        logits: Tensor,
        parts: Sequence[TorchDistribution],
        validate_args: bool | None = None,
    ) -> None:
        self.logits = logits
        self.parts = list(parts)
        first = self.parts[0]

        for part in self.parts:
            if (part.batch_shape, part.event_shape) != (first.batch_shape, first.event_shape):
                raise ValueError(
                    f"Mixture expects components of equal shapes; got {tuple(first.shape())} and "
                    f"{tuple(part.shape())}. Build all flows for the same data."
                )

        super().__init__(first.batch_shape, first.event_shape, validate_args)

    @property
    def support(self) -> Constraint | None:
        return self.parts[0].support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> MixtureDistribution:
        parts = [part.expand(Size(batch_shape)) for part in self.parts]
        return MixtureDistribution(self.logits, parts, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)

        log_probs = torch.stack([part.log_prob(value) for part in self.parts], dim=-1)
        return (log_probs + self.logits.log_softmax(-1)).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        which = Categorical(logits=self.logits).sample(torch.Size(shape))

        # A draw of each component, of which one is kept.
        draws = torch.stack([part.sample(torch.Size(sample_shape)) for part in self.parts])
        index = which.view(1, *shape, *[1] * len(self.event_shape))

        return draws.gather(0, index.expand(1, *shape, *self.event_shape)).squeeze(0)
