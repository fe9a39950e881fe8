"""The sampler of an autoregressive network: draws the sites of a batch, step by step."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet


class SamplingInputs(NamedTuple):
    """Everything from which the rows of a sample are computed.

    Attributes:
        noise: Uniform noise of each site, (n, sites, num_noise).
        context: Context of each row, (n, *context_shape), if the network takes a context.
        observed: Values of each site, (n, sites, *site_shape), if some are observed.
        mask: True where a value is observed.
    """

    noise: Tensor
    context: Tensor | None
    observed: Tensor | None
    mask: Tensor | None

    def rows(self, index: Tensor | slice) -> SamplingInputs:
        """Return the inputs of some rows."""
        parts = (None if part is None else part[index] for part in self)
        return SamplingInputs(*parts)  # type: ignore[arg-type]

    def sites(self, index: Tensor) -> SamplingInputs:
        """Return the inputs of some sites, in all rows."""
        noise = self.noise.index_select(1, index)
        if self.observed is None or self.mask is None:
            return SamplingInputs(noise, self.context, None, None)

        observed, mask = self.observed.index_select(1, index), self.mask.index_select(1, index)
        return SamplingInputs(noise, self.context, observed, mask)

    def keep_observed(self, drawn: Tensor) -> Tensor:
        """Return drawn values, using observed values where there are any."""
        if self.observed is None or self.mask is None:
            return drawn
        return self.observed.where(self.mask, drawn)


class Sampler:
    """Draws the sites of all rows in the order of one member of a network.

    Everything that differs between two steps is a tensor that is written in place. On a CUDA device
    steps of the same `CausalNet.phase` therefore use one sequence of kernels: the first step
    of a phase runs as it is, which also warms up the libraries, the second step is recorded in a
    CUDA graph, and the graph is replayed for the rest.

    Args:
        net: The network.
        member: Member of the network whose order is used.
        inputs: Noise, contexts and observed values.

    Attributes:
        x: Values that have been drawn, (n, sites, *site_shape).
        captures: True if steps are recorded and replayed.
    """

    def __init__(self, net: CausalNet, member: int, inputs: SamplingInputs) -> None:
        self.net, self.member, self.inputs = net, member, inputs
        n, sites, _ = inputs.noise.shape

        weight = next(net.parameters())
        self.x = weight.new_empty(n, sites, *net.likelihood.site_shape)
        self.order = net.orders[member].to(inputs.noise.device)
        self.place = self.order.new_zeros(1)  # in the order, of the first site of the next group
        self.previous: Tensor | None = None  # values of the previous group
        self.values: dict[int, Tensor] = {}  # buffers of these values, by the size of the group
        self.state = net.init_state((n,), inputs.context, member)

        self.captures = self.x.is_cuda
        self.warm: set[Hashable] = set()
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def take(self, index: int) -> None:
        """Take step ``index``; steps must be taken in sequence."""
        phase = self._phase(index)
        if phase in self.graphs:
            self.graphs[phase].replay()
            self.previous = self.values[self._size(index)]
        elif phase in self.warm:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step(index)
            graph.replay()  # recording does not run the kernels
            self.graphs[phase] = graph
        else:
            self._step(index)
            if phase is not None:
                self.warm.add(phase)

    def _phase(self, index: int) -> Hashable | None:
        """Return the phase of a step, where steps can be replayed."""
        phase = self.net.phase(index) if self.captures and index else None
        if phase is None:
            return None
        return phase, self._size(index - 1), self._size(index)

    def _size(self, index: int) -> int:
        """Return how many sites a step draws."""
        group = self.net.group(index)
        return group.stop - group.start

    def _step(self, index: int) -> None:
        size = self._size(index)
        places = self.place
        if size > 1:
            places = self.place + torch.arange(size, device=self.place.device)
        sites = self.order.index_select(0, places)

        # theta of the group, given the values of all earlier groups
        if self.captures:  # replayed steps do not count
            self.state = self.state._replace(done=index)
        theta, self.state = self.net.step(self.state, self.previous)

        # x = draw(theta, noise), or the observed values
        inputs = self.inputs.sites(sites)
        drawn = self.net.likelihood.draw(theta.to(inputs.noise.dtype), inputs.noise)
        values = inputs.keep_observed(drawn.to(self.x.dtype))

        # The next step reads the values where a graph finds them again.
        if size not in self.values:
            self.values[size] = torch.empty_like(values)
        self.previous = self.values[size].copy_(values)
        self.x.index_copy_(1, sites, values)
        self.place.add_(size)
