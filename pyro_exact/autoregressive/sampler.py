"""The steps of a sample, one site after the other; on a CUDA device steps of a kind are captured once, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.step_state import State, progress


class Causal(Protocol):
    """What a network needs to have; see `pyro_exact.autoregressive.CausalNet`."""

    event_shape: torch.Size
    grid: torch.Size
    sites: int
    context_shape: tuple[int, ...] | None
    likelihood: Likelihood

    @property
    def incremental(self) -> bool: ...
    @property
    def orders(self) -> Tensor: ...
    @property
    def __call__(self) -> Callable[..., Tensor]: ...
    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State: ...
    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]: ...
    def phase(self, done: int) -> Hashable | None: ...
    def to_sites(self, x: Tensor) -> Tensor: ...
    def from_sites(self, values: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


class Rows(NamedTuple):
    """What the rows of a sample are drawn from; its values by site, (n, sites, *)."""

    noise: Tensor
    context: Tensor | None
    observed: Tensor | None
    mask: Tensor | None

    def some(self, mine: Tensor | slice) -> Rows:
        """Return some of the rows."""
        return Rows(*(None if values is None else values[mine] for values in self))  # type: ignore[arg-type]

    def at(self, site: Tensor) -> Rows:
        """Return what one site, (1), is drawn from."""
        noise, observed, mask = (
            None if values is None else values.index_select(1, site).squeeze(1)
            for values in (self.noise, self.observed, self.mask)
        )
        return Rows(noise, self.context, observed, mask)  # type: ignore[arg-type]

    def kept(self, drawn: Tensor) -> Tensor:
        """Return what was drawn, or what is observed in its place."""
        return (
            drawn
            if self.observed is None or self.mask is None
            else self.observed.where(self.mask, drawn)
        )


class Steps:
    """Steps that draw the sites of rows in the order of a member.

    Everything that changes from one step to the next is a tensor that is written in place. So steps
    of one `CausalNet.phase` are one sequence of kernels, which a CUDA graph repeats without Python.
    The first step of a phase runs as it is, which also warms up the libraries, and the second one
    is captured.

    Attributes:
        x: What has been drawn, (n, sites, *site_shape).
        captures: Whether to capture steps.
    """

    def __init__(self, net: Causal, member: int, given: Rows) -> None:
        self.net, self.member, self.given = net, member, given
        self.order = net.orders[member].to(given.noise.device)
        self.place = self.order.new_zeros(1)
        weight = next(net.parameters())
        self.x = weight.new_empty(*given.noise.shape[:2], *net.likelihood.site_shape)
        self.previous = self.x[:, 0].clone()
        self.state = net.start(given.noise.shape[:1], given.context, member)
        self.captures = self.x.is_cuda
        self.warm: set[Hashable] = set()
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def take(self, done: int) -> None:
        """Take the step that follows ``done`` ones."""
        phase = self.net.phase(done) if self.captures else None
        if phase in self.graphs:
            self.graphs[phase].replay()
        elif phase in self.warm:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step(done)
            graph.replay()  # to capture is not to run
            self.graphs[phase] = graph
        else:
            self._step(done)
            self.warm |= {phase} - {None}

    def _step(self, done: int) -> None:
        site = self.order.index_select(0, self.place)
        given, state = self.given.at(site), (progress(self.member, done), *self.state[1:])
        theta, self.state = self.net.step(state, self.previous if done else None)
        drawn = self.net.likelihood.draw(theta.to(given.noise.dtype), given.noise)
        self.previous.copy_(given.kept(drawn.to(self.x.dtype)))
        self.x.index_copy_(1, site, self.previous.unsqueeze(1))
        self.place.add_(1)
