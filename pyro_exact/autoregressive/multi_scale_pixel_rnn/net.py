"""Multi-Scale PixelRNN: a small image, then all other pixels given its enlarged map."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.multi_scale_pixel_rnn.upsampler import Upsampler
from pyro_exact.autoregressive.multiscale_net import MultiscaleCache, MultiscaleNet
from pyro_exact.nn.step_state import StepState


class RestStep(NamedTuple):
    """The steps of the large network that make a single step of the whole.

    Steps that only predict pixels of the small image have no parameters to give; they join the next
    step that has.

    Attributes:
        first: First step of the large network.
        last: Last step, whose parameters are used.
        keep: Places in the group of the last step that are predicted; `None` for all.
    """

    first: int
    last: int
    keep: tuple[int, ...] | None


class RestCache(NamedTuple):
    """The cache of the large network, and the place of the next value that this network reads."""

    inner: Any
    place: Tensor


class MultiScalePixelRNN(MultiscaleNet):
    r"""Multi-Scale PixelRNN: any network for a small image, and any conditional one for the rest.

    .. math:: p(x) = p(x^0) \prod_{k \notin x^0} p(x_k \mid x_{<k}, \mathrm{map}(x^0))

    Use it when the whole of an image should be settled before the details. The small image
    :math:`x^0` has every f-th row and column of :math:`x`. A deconvolution network enlarges it to a
    map, which is the context of the large network. The large network goes through the whole image
    in its own order, and sees the pixels of the small image again; because they are known, they are
    left out of the product, so that this is an exact density. The paper predicts them again: see
    `pyro_exact.models.RepredictingMultiScale`.

    Args:
        base: The network of the small image, (C, h, w).
        large: The network of the whole image, (C, H, W), whose context is a map (channels, H, W):
            for example a `DiagonalBiLSTM`, `RowLSTM` or `GatedPixelCNN` with ``context_shape``.

    Shape:
        - x: (\*batch, C, H, W); context: as for the base, a vector that adds to the map.
        - theta: (\*batch, \*grid, likelihood.num_params).

    Raises:
        TypeError: If a network is not a `CausalNet`.
        ValueError: If the sides of the large image are not multiples of those of the small one, the
            large network has another context or several orders, or the likelihoods differ.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        3.6 and figure 9.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive, RowLSTM
        >>> base = RowLSTM((1, 2, 2), 2, width=3, depth=1, head_width=4)
        >>> large = RowLSTM((1, 4, 4), 2, width=3, depth=1, head_width=4, context_shape=(3, 4, 4))
        >>> d = Autoregressive(MultiScalePixelRNN(base, large))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    large_order: Tensor

    def __init__(self, base: CausalNet, large: CausalNet) -> None:
        name = type(self).__name__
        check_large(name, large)
        super().__init__(tuple(large.event_shape), base)
        _check_likelihoods(name, base, large)

        self.large = large
        channels = (large.context_shape or (1,))[0]
        self.upsampler = Upsampler(self.event_shape[0], self.factor, channels)
        self.context: nn.Linear | None = None
        if self.context_shape is not None:
            self.context = nn.Linear(self.context_shape[0], channels, bias=False)

        self.register_buffer("large_order", large.orders[0].clone(), persistent=False)
        self._steps, groups = self._plan()
        self.set_order(groups)

    def map_of(self, small: Tensor, context: Tensor | None) -> Tensor:
        """Return the map of the large network, (N, channels, H, W), from a small image."""
        levels = self.likelihood.levels
        scaled = small if levels is None else small * (2 / (levels - 1)) - 1
        enlarged: Tensor = self.upsampler(scaled)

        if self.context is not None and context is not None:
            enlarged = enlarged + self.context(context)[..., None, None]
        return enlarged

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        x = self.check_input(x)
        batch = x.shape[:-3]
        context = self.flatten_context(context, batch)
        images = x.reshape(-1, *self.event_shape)
        small = images[..., :: self.factor, :: self.factor]

        # theta of all pixels, then that of the small image in its place
        theta = self.large(images, self.map_of(small, context))
        theta = theta.reshape(-1, self.colours, *self.event_shape[1:], self.likelihood.num_params)
        theta = theta.clone()
        theta[:, :, :: self.factor, :: self.factor] = self.base_params(small, context, member)
        return theta.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialise both networks using a batch."""
        self.check_data(x)
        self.base.initialize(x[..., :: self.factor, :: self.factor])
        self.large.initialize(x)

    # Steps
    # ---------------------------------------------------------------------------------------------

    def rest_params(self, index: int, cache: MultiscaleCache) -> tuple[Tensor, RestCache]:
        step = self._steps[index]
        rest: RestCache = self._start(cache) if index == 0 else cache.rest

        inner = rest.inner
        theta = cache.values
        for done in range(step.first, step.last + 1):
            previous = self._read(done, rest, cache.values)
            theta, state = self.large.step(StepState(0, done, inner), previous)
            inner = state.cache

        if step.keep is not None:
            theta = torch.stack([theta[:, place] for place in step.keep], dim=1)
        return theta, RestCache(inner, rest.place)

    def phase(self, index: int) -> Hashable | None:
        rest = index - self.base.num_steps
        if rest < 0:
            return super().phase(index)
        if rest == 0:
            return None

        step = self._steps[rest]
        phases = tuple(self.large.phase(done) for done in range(step.first, step.last + 1))
        sizes = tuple(self._large_size(done) for done in range(step.first - 1, step.last + 1))
        return None if None in phases else ("large", phases, sizes, step.keep)

    def _start(self, cache: MultiscaleCache) -> RestCache:
        """Return the state of the large network before the first step, given the small image."""
        images = self.from_sites(cache.values)
        small = images[..., :: self.factor, :: self.factor]
        state = self.large.init_state((len(small),), self.map_of(small, cache.context))
        return RestCache(state.cache, torch.zeros_like(cache.place))

    def _read(
        self,
        done: int,
        rest: RestCache,
        values: Tensor,
    ) -> Tensor | None:
        """Return the values of the step before ``done``, and move on behind them."""
        if done == 0:
            return None
        size = self._large_size(done - 1)
        places = rest.place + torch.arange(size, device=rest.place.device)
        sites = self.large_order.index_select(0, places)
        rest.place.add_(size)
        return values.index_select(1, sites)

    def _large_size(self, done: int) -> int:
        """Return how many sites a step of the large network predicts."""
        group = self.large.group(done)
        return group.stop - group.start

    def _plan(self) -> tuple[list[RestStep], list[list[int]]]:
        """Return the steps after the base, and the sites that each predicts."""
        order = self.large_order.tolist()
        known = self.smallest_mask().expand(self.colours, -1, -1).flatten().tolist()
        steps, groups, first = [], [], 0

        for done in range(self.large.num_steps):
            sites = order[self.large.group(done)]
            places = [place for place, site in enumerate(sites) if not known[site]]
            if places:
                keep = None if len(places) == len(sites) else tuple(places)
                steps.append(RestStep(first, done, keep))
                groups.append([sites[place] for place in places])
                first = done + 1
        return steps, groups


def check_large(name: str, large: CausalNet) -> None:
    """Raise an error if a network cannot be the large one."""
    if not isinstance(large, CausalNet):
        raise TypeError(
            f"{name} expects a large network that is a CausalNet, for example a DiagonalBiLSTM; "
            f"got {type(large).__name__}. Pass a network of the whole image."
        )

    shape = tuple(large.event_shape)
    context = large.context_shape
    if len(shape) != 3 or context is None or context[1:] != shape[1:]:
        raise ValueError(
            f"{name} expects a large network of images whose context is a map (channels, H, W) of "
            f"the same size; got images of shape {shape} and a context of shape {context}. Set "
            "context_shape."
        )
    if len(large.orders) > 1:
        raise ValueError(
            f"{name} expects a large network with one order; got {len(large.orders)}. Use an "
            "ensemble only for the small image."
        )


def _check_likelihoods(
    name: str,
    base: CausalNet,
    large: CausalNet,
) -> None:
    """Raise ValueError if the sites of both networks have different likelihoods."""
    found = [
        (type(net.likelihood).__name__, net.likelihood.num_params, net.likelihood.levels)
        for net in (base, large)
    ]
    if found[0] != found[1]:
        described = [f"{kind} of {levels} levels" for kind, _, levels in found]
        raise ValueError(
            f"{name} expects the same likelihood in both networks; got {described[0]} and "
            f"{described[1]}. Build both with the same levels and likelihood."
        )
