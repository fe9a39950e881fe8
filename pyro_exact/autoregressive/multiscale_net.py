"""The base class of networks that predict a small image first, and then the other pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from itertools import accumulate, chain, pairwise
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.nn.precision import weight_of
from pyro_exact.nn.step_state import StepState


class MultiscaleCache(NamedTuple):
    """Values drawn so far, and the caches of both parts of a network.

    Attributes:
        batch_shape: Batch shape of the images.
        context: Context of each row, (N, context_dim), if the network takes a context.
        order: Sites in the order in which they are drawn, (sites).
        place: Place in the order of the next site to be written, (1).
        values: Values of all sites, (N, sites, *site_shape).
        base: Cache of the base network.
        rest: Cache of the steps after the base.
    """

    batch_shape: tuple[int, ...]
    context: Tensor | None
    order: Tensor
    place: Tensor
    values: Tensor
    base: Any
    rest: Any

    def write(self, drawn: Tensor) -> None:
        """Write the values of a group, (N, group, *site_shape)."""
        size = drawn.shape[1]
        places = self.place + torch.arange(size, device=self.place.device)
        sites = self.order.index_select(0, places)

        self.values.index_copy_(1, sites, drawn)
        self.place.add_(size)


class MultiscaleNet(CausalNet):
    r"""The base class of networks that begin with a small image, and fill in the other pixels.

    .. math:: p(x) = p(x^0)\, p(x \mid x^0)

    The small image :math:`x^0` has every f-th row and column of :math:`x`, and is predicted by a
    base network of any kind. Pixels are left out and never averaged, so the likelihood is exact and
    the small image has exactly the distribution of the base. Use `smallest_mask` as the mask of
    observed pixels to draw large images of a given small image.

    A subclass must define `forward` and `rest_params`, and call `set_order`.

    Args:
        shape: (C, H, W), where H and W are f times the sides of the base.
        base: The network of the small image, (C, h, w).

    Raises:
        TypeError: If the base is not a `CausalNet`.
        ValueError: If the sides do not fit, or the context of the base is not a vector.
    """

    base_sites: Tensor
    rest_sites: Tensor

    def __init__(self, shape: tuple[int, ...], base: CausalNet) -> None:
        name = type(self).__name__
        base_shape = check_base(name, base)
        self._check_shape(shape, base_shape)
        super().__init__(shape, base.likelihood, base.context_shape)

        self.base = base
        self.factor = shape[1] // base_shape[1]
        self.colours = shape[0] // prod(self.likelihood.site_shape)

    def _check_shape(self, shape: tuple[int, ...], base_shape: tuple[int, int, int]) -> None:
        """Raise ValueError if the shape of the image is no multiple of the shape of the base."""
        channels, height, width = base_shape
        factor = shape[1] // height
        if factor < 2 or tuple(shape) != (channels, factor * height, factor * width):
            sizes = ", ".join(f"({channels}, {height * f}, {width * f})" for f in (2, 3, 4))
            raise ValueError(
                f"{type(self).__name__} expects the shape of its base with both sides multiplied "
                f"by the same integer: {sizes}, ...; got {tuple(shape)} and a base of "
                f"{base_shape}. Choose another base, or pad the images."
            )

    def set_order(self, groups: Sequence[Sequence[int]]) -> None:
        """Register the order: the sites of the base, then these groups of sites, one each step."""
        sites = self.site_indices()
        small = sites[:, :: self.factor, :: self.factor].flatten()
        self.register_buffer("base_sites", small, persistent=False)
        self.register_buffer(
            "rest_sites", torch.tensor(list(chain.from_iterable(groups))), persistent=False
        )

        ends = accumulate((len(group) for group in groups), initial=self.base.sites)
        self._slices = [self.base.group(index) for index in range(self.base.num_steps)]
        self._slices += [slice(start, stop) for start, stop in pairwise(ends)]

    def site_indices(self) -> Tensor:
        """Return the index of each site, (colours, H, W)."""
        return torch.arange(self.sites).view(self.colours, *self.event_shape[1:])

    @property
    def orders(self) -> Tensor:
        by_member = self.base_sites[self.base.orders]
        rest = self.rest_sites.expand(len(by_member), -1)
        return torch.cat((by_member, rest), dim=-1)

    def smallest_mask(self) -> Tensor:
        """Return a mask of the pixels of the small image, (H, W)."""
        mask = torch.zeros(self.event_shape[1:], dtype=torch.bool)
        mask[:: self.factor, :: self.factor] = True
        return mask

    def base_params(
        self,
        small: Tensor,
        context: Tensor | None,
        member: int,
    ) -> Tensor:
        """Return the parameters of a small image, (N, colours, h, w, num_params)."""
        theta = self.base(small, context, member)
        return theta.reshape(-1, self.colours, *small.shape[-2:], self.likelihood.num_params)

    # Steps
    # ---------------------------------------------------------------------------------------------

    @abstractmethod
    def rest_params(self, index: int, cache: MultiscaleCache) -> tuple[Tensor, Any]:
        """Return the parameters of a step after the base, (N, group, num_params), and the cache.

        Args:
            index: Index of the step, counted from the end of the base.
            cache: All values so far. The cache that is returned is ``cache.rest`` of the next step.
        """

    @property
    def num_steps(self) -> int:
        return len(self._slices)

    def group(self, index: int) -> slice:
        return self._slices[index]

    def phase(self, index: int) -> Hashable | None:
        return self.base.phase(index) if index < self.base.num_steps else None

    @torch.no_grad()
    def init_state(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> StepState:
        context = self.flatten_context(context, batch_shape)
        rows = torch.Size(batch_shape).numel()
        cache = MultiscaleCache(
            batch_shape=tuple(batch_shape),
            context=context,
            order=self.orders[member],
            place=self.rest_sites.new_zeros(1),
            values=weight_of(self).new_zeros(rows, self.sites, *self.likelihood.site_shape),
            base=self.base.init_state((rows,), context, member).cache,
            rest=None,
        )
        return StepState(member, 0, cache)

    @torch.no_grad()
    def step(self, state: StepState, previous: Tensor | None = None) -> tuple[Tensor, StepState]:
        cache: MultiscaleCache = state.cache
        if previous is not None:
            drawn = self._size(state.done - 1)
            previous = previous.reshape(-1, drawn, *self.likelihood.site_shape)
            cache.write(previous)

        if state.done < self.base.num_steps:
            inner = StepState(state.member, state.done, cache.base)
            theta, inner = self.base.step(inner, previous)
            cache = cache._replace(base=inner.cache)
        else:
            theta, rest = self.rest_params(state.done - self.base.num_steps, cache)
            cache = cache._replace(rest=rest)

        size = self._size(state.done)
        theta = theta.reshape(*cache.batch_shape, size, self.likelihood.num_params)
        return theta, state.next(cache)

    def _size(self, index: int) -> int:
        """Return how many sites a step predicts."""
        group = self.group(index)
        return group.stop - group.start


def check_base(name: str, base: CausalNet) -> tuple[int, int, int]:
    """Return the shape of the images of a base network, or raise an error if it does not fit.

    Raises:
        TypeError: If ``base`` is not a `CausalNet`.
        ValueError: If this is not a network of images, or takes a context map.
    """
    if not isinstance(base, CausalNet):
        raise TypeError(
            f"{name} expects a base that is a CausalNet, for example a GatedPixelCNN; got "
            f"{type(base).__name__}. Pass a network of the smallest image."
        )
    if len(base.event_shape) != 3:
        raise ValueError(
            f"{name} expects a base of images (C, h, w); got {tuple(base.event_shape)}. Pass a "
            "base of the shape of the smallest image."
        )
    if base.context_shape is not None and len(base.context_shape) != 1:
        raise ValueError(
            f"{name} expects a base whose context is a vector; got a context of shape "
            f"{base.context_shape}. Use a vector, which has no resolution."
        )
    channels, height, width = base.event_shape
    return channels, height, width
