"""Networks whose output at a site is a function of the sites before it: all at once, or one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.distributions.likelihood import Likelihood
from pyro_exact.nn.masked import State, progress


class CausalNet(nn.Module, ABC):
    r"""A network for `pyro_exact.distributions.Autoregressive`: what it computes for a site is causal.

    .. math:: \theta_{o_k} = g_k(x_{o_1}, \dots, x_{o_{k-1}}, \mathrm{context}), \qquad
        \log p(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k})

    A subclass writes `forward`, for all sites at once, and `orders`. Where a step costs less than a `forward`, it
    writes `start` and `step` as well; ``stack(step) == forward`` is their law. The state between two steps is passed
    and returned, and never kept in the module. Some networks are an ensemble with shared weights: each member has its
    own order, and perhaps its own connections.

    Args:
        shape: Size of a vector, or the shape of an image, whose sites are numbered row by row.
        likelihood: What ``theta`` means.
        context_dim: Size of the context vector that every site may depend on.

    Shape:
        - x: (\*batch, \*event_shape); context: (\*batch, context_dim).
        - theta: (\*batch, \*event_shape, likelihood.num_params); of one site: (\*batch, likelihood.num_params).

    Raises:
        ValueError: If the shape is empty.
    """

    def __init__(self, shape: int | Sequence[int], likelihood: Likelihood, context_dim: int | None = None) -> None:
        super().__init__()
        self.event_shape = torch.Size([shape] if isinstance(shape, int) else shape)
        self.sites = self.event_shape.numel()
        if not self.event_shape or min(self.event_shape) < 1:
            raise ValueError(f"{type(self).__name__} expects a shape of positive sizes; got {shape}.")
        self.likelihood = likelihood
        self.context_shape: tuple[int, ...] | None = None if context_dim is None else (context_dim,)

    @property
    @abstractmethod
    def orders(self) -> Tensor:
        """Numbers of the sites in the order in which they come, for each member: (members, sites)."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        """Return theta of every site, each from the values in ``x`` of the sites before it."""

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0) -> State:
        """Return the state before the first step."""
        x = next(self.parameters()).new_zeros(*batch_shape, self.sites)
        start = progress(member, 0), x
        return start if context is None else (*start, context)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        """Return theta of the next site, and the next state.

        This default, always right and slow, runs `forward` at each step.

        Args:
            state: From `start`, or from the step before.
            previous: The value of the site of the step before, (*batch); at the first step, nothing.
        """
        (member, done, _), x, *context = state[0].shape, *state[1:]
        order = self.orders[member]
        if previous is not None:
            x = x.index_copy(-1, order[done - 1 : done], previous.unsqueeze(-1))
        theta = self(x.unflatten(-1, self.event_shape), *context, member=member).flatten(x.dim() - 1, -2)
        return theta.index_select(-2, order[done : done + 1]).squeeze(-2), (progress(member, done + 1), x, *context)

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data from a batch; none by default."""

    def _flat(self, x: Tensor) -> Tensor:
        """Return x with its sites in one dimension, or say that its shape is wrong."""
        batch_dims = x.dim() - len(self.event_shape)
        if batch_dims < 0 or x.shape[batch_dims:] != self.event_shape:
            expected = ", ".join(map(str, self.event_shape))
            raise ValueError(f"{type(self).__name__} expects shape (*batch, {expected}); got {tuple(x.shape)}.")
        return x.flatten(batch_dims)


def permutation(order: Sequence[int] | None, sites: int, owner: str) -> Tensor:
    """Return an order of the sites as a tensor, 0, 1, ... by default; raise ValueError if it is no permutation."""
    if order is not None and sorted(order) != list(range(sites)):
        raise ValueError(f"{owner} expects an order that holds each of 0, ..., {sites - 1} once; got {list(order)}.")
    return torch.arange(sites) if order is None else torch.tensor([int(site) for site in order])
