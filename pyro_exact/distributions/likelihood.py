"""What a causal network says of one site: how its parameters score a value, and how they draw one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.distributions.constraints import Constraint


class Likelihood(ABC):
    r"""The family of distributions of one site, given what a network computed for it.

    Attributes:
        num_params: Numbers that the network computes for each site, the last dimension of ``theta``.
        support: Values that a site can take.
        values: The same in words, for errors.

    Shape:
        - theta: (\*sites, num_params); x: (\*sites), in a floating-point type.
    """

    num_params: int
    support: Constraint
    values: str

    @abstractmethod
    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        r"""Return the log-probability or log-density of each site in nats, of the shape of x."""

    @abstractmethod
    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        r"""Return a value for each site, a function of theta and of as much uniform noise in [0, 1)."""

    @abstractmethod
    def marginal(self, x: Tensor) -> Tensor:
        r"""Return the theta of independent sites that fits data best: (n, \*sites) -> (\*sites, num_params)."""
