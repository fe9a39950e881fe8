"""The distribution of an integer flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import check_event, check_tensor
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.distributions.discrete_flow.scale import IntegerScale
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.precision import weight_of

Draw = Callable[[Tensor], Tensor]


class DiscreteFlow(nn.Module):
    r"""An integer flow: a permutation of images, and independent latents given the next scale.

    Use `pyro_exact.flows.idf` to build one. It is a module that returns a distribution when called,
    as `Flow` does, and a model as `pyro_exact.models.Density`. Images are integers, so nothing is
    dequantised: the likelihood is exact, and so is the code of `pyro_exact.codec`.

    .. math:: P(x) = \prod_l p(z_l \mid h_l), \qquad (h_1, z_1) = f_1(x), \quad
        (h_{l + 1}, z_{l + 1}) = f_{l + 1}(h_l)

    Args:
        shape: (C, H, W) of the images.
        likelihood: The distribution of a latent element.
        scales: The scales, from the image on.

    Reference:
        Hoogeboom, Peters, van den Berg and Welling (2019), Integer Discrete Flows and Lossless
        Compression.

    Example:
        >>> from pyro_exact.flows import idf
        >>> flow = idf((1, 4, 4), levels=4, scales=1, steps=2, width=4, depth=1)
        >>> flow().log_prob(flow().sample((5,))).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        likelihood: Likelihood,
        scales: Sequence[IntegerScale],
    ) -> None:
        super().__init__()
        self.shape, self.likelihood = torch.Size(shape), likelihood
        parts = nn.ModuleList(scales)
        self.scales: Sequence[IntegerScale] = parts  # type: ignore[assignment]

    def forward(self, temperature: float | None = None) -> DiscreteFlowDistribution:
        """Return the distribution of the images.

        Raises:
            ValueError: If a temperature is given.
        """
        if temperature is not None:
            raise ValueError(
                "An integer flow has no base noise to scale; got temperature "
                f"{temperature!r}. Leave it out."
            )
        return DiscreteFlowDistribution(self)

    def latents(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the latents of each scale and their parameters, from the last scale to the first.

        Args:
            x: Images, (N, C, H, W), in the precision of the weights.
        """
        found: list[tuple[Tensor, Tensor]] = []
        for scale in self.scales:
            x, z = scale(x)
            found.append((z, scale.theta(x)))
        return found[::-1]

    def images(self, draw: Draw, count: int) -> Tensor:
        """Return images, with the latents of each scale drawn from their parameters.

        Args:
            draw: Returns latents, (N, C, H, W), from parameters, (N, C, H, W, num_params).
            count: Count of the images.
        """
        side = 2 ** len(self.scales)
        height, width = self.shape[1] // side, self.shape[2] // side
        x = weight_of(self).new_zeros(count, 0, height, width)

        for scale in reversed(self.scales):
            x = scale.inverse(x, draw(scale.theta(x)).to(x))
        return x

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the parameters of the latents to the marginal distribution of a batch."""
        h = x.to(weight_of(self))
        for scale in self.scales:
            h, z = scale(h)
            elements = z.movedim(1, -1).flatten(0, -2)
            scale.start.copy_(self.likelihood.marginal(elements)[:, None, None])


class DiscreteFlowDistribution(TorchDistribution):
    """The distribution of images that a `DiscreteFlow` returns.

    Args:
        flow: The module with the weights.
        batch_shape: Batch shape of the distribution.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, flow: DiscreteFlow, batch_shape: Shape = torch.Size()) -> None:  # noqa: B008
        self.flow = flow
        super().__init__(torch.Size(batch_shape), flow.shape, validate_args=False)

    def __repr__(self) -> str:
        return shapes_of(self, type(self.flow.likelihood).__name__)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.flow.likelihood.support, 3)

    def expand(self, batch_shape: Shape, _instance: object = None) -> DiscreteFlowDistribution:
        shape = expanded("DiscreteFlow", self.batch_shape, batch_shape)
        return DiscreteFlowDistribution(self.flow, shape)

    def check_value(self, value: Tensor) -> None:
        """Raise an error if a value has another shape, or is outside of the support."""
        check_event("DiscreteFlow", "value", value, self.event_shape)
        self.flow.likelihood.check_values(value)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log P in nats, of shape (\*batch)."""
        value = check_tensor("DiscreteFlow.log_prob", "value", value)
        rows = check_event("DiscreteFlow.log_prob", "value", value, self.event_shape)
        self.check_value(value)

        batch = torch.broadcast_shapes(rows, self.batch_shape)
        x = value.to(weight_of(self.flow)).expand(batch + self.event_shape)

        log_p = x.new_zeros(batch.numel())
        for z, theta in self.flow.latents(x.reshape(-1, *self.event_shape)):
            log_p = log_p + self.flow.likelihood.log_prob(theta, z).sum((1, 2, 3))
        return log_p.view(batch)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        shape = checked_shape("DiscreteFlow.sample", sample_shape) + self.batch_shape
        likelihood = self.flow.likelihood

        def draw(theta: Tensor) -> Tensor:
            noise = torch.rand(*theta.shape[:-1], likelihood.num_noise).to(theta)
            return likelihood.draw(theta, noise)

        x = self.flow.images(draw, torch.Size(shape).numel())
        return x.reshape(*shape, *self.event_shape)
