"""Networks whose output at a site is a function of the sites before it: all at once, or one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_broadcast, check_event, check_numbers, check_shape, check_tensor
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.precision import cast, weight_of
from pyro_exact.nn.step_state import State, progress


class CausalNet(nn.Module, ABC):
    r"""A network for `pyro_exact.autoregressive.Autoregressive`: what it computes for a site is causal.

    .. math:: \theta_{o_k} = g_k(x_{o_1}, \dots, x_{o_{k-1}}, \mathrm{context}), \qquad
        \log p(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k})

    A subclass writes `forward`, for all sites at once, and `orders`. Where a step costs less than a
    `forward`, it writes `start` and `step` as well; ``stack(step) == forward`` is their law. The
    state between two steps is passed and returned, and never kept in the module. Some networks are
    an ensemble with shared weights: each member has its own order, and perhaps its own connections.

    A site is what the network emits at once: a number, or with some likelihoods a pixel with all
    its channels.

    Args:
        shape: Size of a vector, or the shape of an image: the shape of a site's value, then that of
            the grid of sites, which are numbered row by row.
        likelihood: What ``theta`` means.
        context: Shape of the context that every site may depend on, or the size of a vector.

    Shape:
        - x: (\*batch, \*event_shape), where event_shape is (\*site_shape, \*grid); context:
          (\*batch, \*context_shape).
        - theta: (\*batch, \*grid, likelihood.num_params); of one site: (\*batch,
          likelihood.num_params).

    Raises:
        ValueError: If the shape is empty, or does not begin with that of a site's value.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        likelihood: Likelihood,
        context: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(likelihood, Likelihood):
            raise TypeError(
                f"{name} expects a Likelihood, such as those of pyro_exact.distributions; got "
                f"{type(likelihood).__name__}. Pass one, not its class."
            )
        self.event_shape = torch.Size(check_shape(name, "shape", shape))
        values = len(likelihood.site_shape)
        if self.event_shape[:values] != likelihood.site_shape:
            raise ValueError(
                f"{name} expects a shape that begins with that of the values of its likelihood, "
                f"{likelihood.site_shape}; got {tuple(self.event_shape)}. Build the likelihood for that shape."
            )
        self.grid = self.event_shape[values:]
        self.sites = self.grid.numel()
        self.likelihood = likelihood
        self.context_shape = None if context is None else check_shape(name, "context", context)

    @property
    def incremental(self) -> bool:
        """Whether the network has steps of its own, as it should where they cost less than passes."""
        return type(self).step is not CausalNet.step

    @property
    @abstractmethod
    def orders(self) -> Tensor:
        """Numbers of the sites in the order in which they come, for each member: (members, sites)."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        """Return theta of every site, each from the values in ``x`` of the sites before it."""

    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        """Return the state before the first step."""
        x = next(self.parameters()).new_zeros(*batch_shape, self.sites, *self.likelihood.site_shape)
        start = progress(member, 0), x
        return start if context is None else (*start, context)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        """Return theta of the next site, and the next state.

        This default, always right and slow, runs `forward` at each step.

        Args:
            state: From `start`, or from the step before; a step may write into it, so it serves
                once.
            previous: The value of the site of the step before, (*batch, *site_shape), which may
                change afterwards; at the first step, nothing.
        """
        (member, done, _), x, *context = state[0].shape, *state[1:]
        order, dim = self.orders[member], -1 - len(self.likelihood.site_shape)
        if previous is not None:
            x = x.index_copy(dim, order[done - 1 : done], previous.unsqueeze(dim))
        theta = self(self.from_sites(x), *context, member=member).flatten(-1 - len(self.grid), -2)
        return theta.index_select(-2, order[done : done + 1]).squeeze(-2), (
            progress(member, done + 1),
            x,
            *context,
        )

    def phase(self, done: int) -> Hashable | None:
        """Return the kind of the step that follows ``done`` ones, or `None`, the default, for one of its own kind.

        Steps of one kind run the same operations on the same tensors: where they are is a tensor in
        the state, into which they write. So a CUDA graph of one of them is all of them.
        """
        return None

    def to_sites(self, x: Tensor) -> Tensor:
        """Return the values of the sites in a row: (*batch, *event_shape) -> (*batch, sites, *site_shape)."""
        values = len(self.likelihood.site_shape)
        flat = self._checked(x).flatten(-len(self.grid))
        return flat.movedim(-1, -1 - values)

    def from_sites(self, values: Tensor) -> Tensor:
        """Return what `to_sites` took."""
        flat = values.movedim(-1 - len(self.likelihood.site_shape), -1)
        return flat.unflatten(-1, self.grid)

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data from a batch; none by default."""

    def examples(self, x: Tensor) -> Tensor:
        """Return data in rows, (n, sites, *site_shape), to `initialize` from.

        Raises:
            ValueError: If it is no batch, or holds what the likelihood cannot take.
        """
        rows = self.to_sites(x)
        if rows.dim() == 1 + len(self.likelihood.site_shape) or not len(rows):
            raise ValueError(
                f"{type(self).__name__} starts from a batch of data; got shape {tuple(x.shape)}. Add the batch "
                f"dimension."
            )
        check_numbers(type(self).__name__, "data", x)
        if not (self.likelihood.support.check(x) & x.isfinite()).all():
            raise ValueError(
                f"{type(self).__name__} starts from {self.likelihood.values}; got others. Compare the data with the "
                f"likelihood."
            )
        return cast(rows.reshape(-1, self.sites, *self.likelihood.site_shape), weight_of(self))

    def contexts(self, context: Tensor | None, batch_shape: Sequence[int]) -> Tensor | None:
        """Return the context of each vector or image of a batch in a row: (N, *context_shape)."""
        if self.context_shape is None:
            return None
        context = required(context, self.context_shape, next(self.parameters()))
        rows = context.shape[: context.dim() - len(self.context_shape)]
        if check_broadcast(type(self).__name__, "context", rows, "x", batch_shape) != torch.Size(
            batch_shape
        ):
            raise ValueError(
                f"{type(self).__name__} expects x of the batch shape of its context, {tuple(rows)}; got "
                f"{tuple(batch_shape)}. Expand x to it."
            )
        return context.expand(*batch_shape, *self.context_shape).reshape(-1, *self.context_shape)

    def values(self, x: Tensor) -> Tensor:
        """Return values in the precision of the weights, or say that their shape is wrong."""
        x, weight = self._checked(x), weight_of(self)
        if not weight.is_meta:
            check_numbers(type(self).__name__, "x", x)
        return cast(x, weight)

    def _checked(self, x: Tensor) -> Tensor:
        """Return x, or say that its shape is wrong."""
        name = type(self).__name__
        check_event(name, "x", check_tensor(name, "x", x), self.event_shape)
        return x
