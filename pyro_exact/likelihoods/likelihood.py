"""What a causal network says of one site: how its parameters score a value, and how they draw one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.distributions.constraints import Constraint


class Likelihood(ABC):
    r"""The family of distributions of one site, given what a network computed for it.

    Attributes:
        num_params: Numbers that the network computes for each site, the last dimension of
            ``theta``.
        num_noise: Uniform numbers that a draw of a site takes.
        site_shape: Shape of the value of a site: ``()``, or ``(C,)`` for a pixel with all its
            channels.
        levels: How many values each number of a site can take; `None` for real numbers.
        support: Values that each number of a site can take.
        values: The same in words, for errors.

    Shape:
        - theta: (\*sites, num_params); x: (\*sites, \*site_shape), in a floating-point type.
    """

    num_params: int
    num_noise: int = 1
    site_shape: tuple[int, ...] = ()
    levels: int | None = None
    support: Constraint
    values: str

    @abstractmethod
    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        r"""Return the log-probability or log-density of each site in nats, (\*sites)."""

    @abstractmethod
    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        r"""Return a value for each site, a function of theta and of uniform noise in [0, 1), (\*sites, num_noise)."""

    @abstractmethod
    def marginal(self, x: Tensor) -> Tensor:
        r"""Return the theta of independent sites that fits data, (n, \*sites, \*site_shape), best."""
