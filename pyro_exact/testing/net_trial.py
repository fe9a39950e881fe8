"""An autoregressive network under test, and inputs for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.likelihoods.likelihood import Likelihood

ROWS = 3
MOST_VALUES = 2**12  # so many values are enumerated


@dataclass(frozen=True)
class NetTrial:
    r"""A copy of a network and a batch of inputs. Each law gets a new trial, and may change it.

    Args:
        net: The network, in float64.
        x: Values, of shape (3, \*event_shape).
        context: Contexts, of shape (3, \*context_shape), if the network takes a context.
    """

    net: CausalNet
    x: Tensor
    context: Tensor | None

    @classmethod
    def of(cls, net: CausalNet, std: float = 0.5) -> NetTrial:
        """Copy a network and add N(0, std^2) to the weights."""
        net = copy.deepcopy(net).cpu().double().eval()
        with torch.no_grad():
            for p in net.parameters():
                p.add_(std * torch.randn_like(p))

        context = None
        if net.context_shape is not None:
            context = torch.randn(ROWS, *net.context_shape, dtype=torch.float64)
        return cls(
            net,
            draw_values(net.likelihood, (ROWS, *net.event_shape)),
            context,
        )

    @property
    def members(self) -> range:
        """The members of the network."""
        return range(len(self.net.orders))

    def values(self, *batch: int) -> Tensor:
        """Draw a batch of values in the support."""
        return draw_values(self.net.likelihood, (*batch, *self.net.event_shape))

    def contexts(self, *batch: int) -> Tensor | None:
        """Draw a batch of contexts, if the network takes a context."""
        if self.net.context_shape is None:
            return None
        return torch.randn(
            *batch,
            *self.net.context_shape,
            dtype=torch.float64,
        )

    def theta(self, x: Tensor, member: int = 0) -> Tensor:
        """Return the parameters computed by one pass, by site: (3, sites, num_params)."""
        return self.net(x, self.context, member).flatten(1, -2)

    def distribution(self, member: int | None = None) -> Autoregressive:
        """Return the distribution under the first context, if any."""
        context = None if self.context is None else self.context[0]
        return Autoregressive(self.net, context, member)

    def every_value(self) -> Tensor:
        """Return all values of discrete elements, (levels ** elements, *event_shape)."""
        return every_value(self.net.likelihood, self.net.event_shape)


def draw_values(likelihood: Likelihood, shape: Sequence[int]) -> Tensor:
    """Draw values in the support of a likelihood."""
    if likelihood.levels is None:
        return torch.randn(*shape, dtype=torch.float64)
    return torch.randint(likelihood.levels, tuple(shape)).double()


def can_be_enumerated(likelihood: Likelihood, shape: Sequence[int]) -> bool:
    """Return whether there are few enough values of a shape to sum over all values."""
    elements = torch.Size(shape).numel()
    return likelihood.levels is not None and likelihood.levels**elements <= MOST_VALUES


def every_value(likelihood: Likelihood, shape: Sequence[int]) -> Tensor:
    """Return all values of a shape, (levels ** elements, *shape)."""
    levels = likelihood.levels or 1
    elements = torch.Size(shape).numel()
    index = torch.arange(levels**elements)[:, None]
    digits = index // levels ** torch.arange(elements) % levels
    return digits.double().view(-1, *shape)
