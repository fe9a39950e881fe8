"""The contract of likelihoods."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pyro_exact.checks import check_numbers


class Likelihood(ABC):
    r"""The distribution of a site, given the parameters computed by a network.

    Use likelihoods as the ``likelihood=`` of autoregressive networks and of decoders. A likelihood
    is a formula without weights: it scores values, and draws values using given uniform noise, so
    that slow and fast samplers draw the same. Use `pyro_exact.testing.check_likelihood` to check
    the laws that a likelihood must obey.

    Attributes:
        num_params: Parameters of a site, the last dimension of ``theta``.
        num_noise: Uniform noise elements used to draw a site.
        site_shape: Shape of the value of a site: ``()``, or ``(C,)`` for a pixel with all
            channels.
        levels: Values that an element can take; `None` for real data.
        support: Values that an element can take.
        values: The support in words, for errors.

    Shape:
        - theta: (\*sites, num_params); x: (\*sites, \*site_shape), of a floating-point type; noise:
          (\*sites, num_noise).
    """

    num_params: int
    num_noise: int = 1
    site_shape: tuple[int, ...] = ()
    levels: int | None = None
    support: Constraint
    values: str

    @abstractmethod
    def log_prob(
        self,
        theta: Tensor,
        x: Tensor,
    ) -> Tensor:
        r"""Return the log-probability or log-density of each site in nats, (\*sites)."""

    @abstractmethod
    def draw(
        self,
        theta: Tensor,
        noise: Tensor,
    ) -> Tensor:
        r"""Return a value for each site, a function of theta and of uniform noise in [0, 1).

        NaN in theta must become NaN in the value, so that samplers can report it.
        """

    def level_probs(
        self,
        theta: Tensor,
        earlier: Tensor,
    ) -> Tensor:
        r"""Return the probability of each level of the next channel, given earlier channels.

        Use these tables to code or enumerate values. By the chain rule, the product of the tables
        at the values of all channels is the probability of a site. A site that is a single element
        has one table, for which `log_prob` scores all levels; a likelihood of whole pixels must
        define this method.

        Args:
            theta: (\*sites, num_params).
            earlier: The values of the earlier channels, (\*sites, c) with c from 0 to C - 1.

        Returns:
            Probabilities, (\*sites, levels).

        Raises:
            ValueError: If the elements of a site are real.
        """
        name = type(self).__name__
        if self.levels is None:
            raise ValueError(
                f"{name} expects elements with levels for a table of probabilities; got real "
                "elements. Use a likelihood with levels."
            )
        if self.site_shape:
            raise NotImplementedError(
                f"{name} expects a method level_probs, because a site has {self.site_shape[0]} "
                "channels; got none. Define it."
            )

        levels = torch.arange(self.levels, dtype=theta.dtype, device=theta.device)
        by_level = theta.unsqueeze(-2).expand(*theta.shape[:-1], self.levels, -1)
        return self.log_prob(by_level, levels.expand(by_level.shape[:-1])).exp()

    @abstractmethod
    def marginal(self, x: Tensor) -> Tensor:
        r"""Return the parameters of independent sites that fit data best."""

    def check_values(
        self,
        x: Tensor,
        where: Tensor | None = None,
    ) -> None:
        """Raise an error if some values are outside of the support.

        Args:
            x: Values of any shape.
            where: True at the values to check; by default all.

        Raises:
            ValueError: If a value is not finite, or outside of the support.
        """
        name = type(self).__name__
        possible = self.support.check(check_numbers(name, "values", x)) & x.isfinite()

        wrong = ~possible if where is None else where & ~possible
        bad = x.expand(wrong.shape)[wrong]
        if len(bad):
            raise ValueError(
                f"{name} expects {self.values}; got {bad[0].item():g}, and {len(bad)} of "
                f"{x.numel()} elements are such. Compare the data with the levels of the model."
            )
