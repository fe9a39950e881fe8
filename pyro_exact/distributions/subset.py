"""Random subsets of sites, used as the latent of order-agnostic training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_broadcast, check_event, check_shape, check_tensor
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.noise import rows_of_batch


class Subset(TorchDistribution):
    r"""The sites that precede a uniformly drawn position in a uniformly drawn order.

    .. math:: p(m) = \frac1D \binom{D}{d}^{-1}, \qquad d = \sum_i m_i \in \{0, \dots, D - 1\}

    Each subset that is drawn has this distribution. Subsets that are drawn together have sizes that
    are spread evenly.

    Args:
        shape: Shape of the mask, which has D elements.
        device: Device of the samples.
        batch: Batch shape.

    Shape:
        - value: (\*batch, \*shape), True in the subset; log_prob: (\*batch), in nats.

    Raises:
        ValueError: On a value of another shape.

    Example:
        >>> d = Subset((1, 8, 8))
        >>> d.sample((5,)).shape
        torch.Size([5, 1, 8, 8])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self, shape: Sequence[int], device: torch.device | str | None = None, batch: Shape = ()
    ) -> None:
        self.device = device
        event = check_shape("Subset", "shape", shape)
        super().__init__(checked_shape("Subset", batch), torch.Size(event), validate_args=False)

    def __repr__(self) -> str:
        return shapes_of(self)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    def expand(self, batch_shape: Shape, _instance: object = None) -> Subset:
        return Subset(
            self.event_shape, self.device, expanded("Subset", self.batch_shape, batch_shape)
        )

    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        shape = checked_shape("Subset.sample", sample_shape) + self.batch_shape
        rows = shape.numel()
        sites = self.event_shape.numel()

        # One site is left out. The remaining sites are included with a probability that is itself
        # uniform, which makes the size of the subset uniform.
        first, total = rows_of_batch(rows)
        even = torch.arange(first, first + rows, device=self.device) / max(total, 1)
        chance = (even + torch.rand((), device=self.device)) % 1
        subset = torch.rand(rows, sites, device=self.device) < chance[:, None]
        out = torch.randint(sites, (rows, 1), device=self.device)

        return subset.scatter(1, out, 0).view(shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log p in nats, of shape (\*batch)."""
        rows = check_event(
            "Subset.log_prob",
            "value",
            check_tensor("Subset.log_prob", "value", value),
            self.event_shape,
        )
        batch = check_broadcast(
            "Subset.log_prob", "value", rows, "the distribution", self.batch_shape
        )

        if value.dtype != torch.bool:
            value = value.where((value == 0) | (value == 1) | value.isnan(), torch.inf)

        sites = torch.tensor(float(self.event_shape.numel()), device=value.device)
        size = value.sum(list(range(-len(self.event_shape), 0))).to(sites.dtype)
        ways = (sites + 1).lgamma() - (size + 1).lgamma() - (sites - size + 1).lgamma()
        log_p = torch.where(size < sites, -ways - sites.log(), -torch.inf)

        return log_p.where(~size.isnan(), torch.nan).expand(batch)
