"""The distribution of sites that are independent of each other."""

from __future__ import annotations

from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import (
    check_broadcast,
    check_event,
    check_finite,
    check_floating,
    check_size,
    check_tensor,
)
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.precision import cast


class IndependentSites(TorchDistribution):
    r"""Independent sites with given parameters. Use it for the output of a decoder.

    .. math:: \log p(x) = \sum_k \log p(x_k \mid \theta_k)

    Args:
        theta: Parameters of each site, for example the output of a decoder.
        likelihood: Distribution of a site given the corresponding parameters.
        grid_dim: Dimensions of the grid of sites: 1 for a vector, 3 for an image of single
            elements, 2 for an image whose sites are pixels with all channels.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.

    Shape:
        - theta: (\*batch, \*grid, likelihood.num_params).
        - value: (\*batch, \*likelihood.site_shape, \*grid), of any dtype; log_prob: (\*batch), in
          nats.

    Raises:
        ValueError: If theta has more or fewer parameters than the likelihood; if a value has
            another shape, or is outside of the support.

    Example:
        >>> from pyro_exact.likelihoods import BernoulliLikelihood
        >>> d = IndependentSites(torch.zeros(5, 1, 8, 8, 1), BernoulliLikelihood(), grid_dim=3)
        >>> d.sample().shape, d.log_prob(d.sample()).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        theta: Tensor,
        likelihood: Likelihood,
        grid_dim: int,
        validate_args: bool | None = None,
    ) -> None:
        theta = check_floating("IndependentSites", "theta", theta)
        grid_dim = check_size("IndependentSites", "grid_dim", grid_dim)
        cut = theta.dim() - 1 - grid_dim

        if cut < 0 or theta.shape[-1] != likelihood.num_params:
            raise ValueError(
                f"{type(likelihood).__name__} expects theta of shape (*batch, *grid, "
                f"{likelihood.num_params}) with {grid_dim} dimensions in the grid; got "
                f"{tuple(theta.shape)}. Change the last layer of the decoder."
            )

        self.theta = theta.to(
            torch.promote_types(theta.dtype, torch.float32)
        )  # under autocast too: sums are long
        self.likelihood = likelihood
        self.grid = theta.shape[cut:-1]
        super().__init__(
            theta.shape[:cut], torch.Size(likelihood.site_shape) + self.grid, validate_args
        )

    def __repr__(self) -> str:
        return shapes_of(self, type(self.likelihood).__name__)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.likelihood.support, len(self.event_shape))

    def expand(self, batch_shape: Shape, _instance: object = None) -> IndependentSites:
        theta = self._theta(expanded("IndependentSites", self.batch_shape, batch_shape))
        return IndependentSites(theta, self.likelihood, len(self.grid), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log p in nats, of shape (\*batch)."""
        value = check_tensor("IndependentSites.log_prob", "value", value)
        rows = check_event("IndependentSites.log_prob", "value", value, self.event_shape)

        if self._validate_args:
            self._validate_sample(value)

        batch = check_broadcast(
            "IndependentSites.log_prob", "value", rows, "theta", self.batch_shape
        )
        x = cast(value, self.theta).expand(batch + self.event_shape)
        channels = len(self.likelihood.site_shape)

        if channels:
            x = x.movedim(list(range(len(batch), len(batch) + channels)), list(range(-channels, 0)))

        return self.likelihood.log_prob(self._theta(batch), x).flatten(len(batch)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        theta = self._theta(
            checked_shape("IndependentSites.sample", sample_shape) + self.batch_shape
        )
        noise = torch.rand(
            (*theta.shape[:-1], self.likelihood.num_noise), dtype=theta.dtype, device=theta.device
        )
        x = self.likelihood.draw(theta, noise)
        channels = len(self.likelihood.site_shape)
        check_finite(
            "IndependentSites.sample", "the sample", x, "Check the network that computes theta"
        )
        cut = theta.dim() - 1 - len(self.grid)

        return (
            x.movedim(list(range(-channels, 0)), list(range(cut, cut + channels)))
            if channels
            else x
        )

    def _theta(self, batch: torch.Size) -> Tensor:
        """Return theta for a larger batch."""
        return self.theta.expand(*batch, *self.grid, -1)

    def _validate_sample(self, value: Tensor) -> None:
        check_event("IndependentSites", "value", value, self.event_shape)
        self.likelihood.check_values(value)
