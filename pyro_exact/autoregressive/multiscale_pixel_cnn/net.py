"""Multiscale PixelCNN: images in parallel groups of pixels, from a small image upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.multiscale_net import MultiscaleCache, MultiscaleNet
from pyro_exact.autoregressive.multiscale_pixel_cnn.cells import (
    GROUPS,
    first_pixels,
    interleave,
    pixels_at,
)
from pyro_exact.autoregressive.multiscale_pixel_cnn.group_net import GroupNet, GroupSizes
from pyro_exact.checks import check_sizes


class Group(NamedTuple):
    """The position of a step: a group of a scale, and the colour of its pixels."""

    scale: int
    place: int
    colour: int


class MultiscalePixelCNN(MultiscaleNet):
    r"""Multiscale PixelCNN. Use it when images must be drawn in few passes.

    .. math:: p(x) = p(x^0) \prod_{s=1}^{S} \prod_{g=1}^{3}
        p(x^s_g \mid x^{s-1}, x^s_1, \dots, x^s_{g-1})

    The image :math:`x^{s-1}` is every second row and column of :math:`x^s`, and :math:`x^S` is the
    whole image. The smallest image is predicted by a base network of any kind. Each doubling then
    adds the three missing pixels of every 2x2 cell: upper right, lower left, lower right. A group
    holds one of these pixels of all cells, which are independent given all earlier groups, and a
    residual network without masks predicts the group in a single pass. Because images are made
    smaller by leaving pixels out, and never by averages, the likelihood is exact, and the smallest
    images have exactly the distribution of the base.

    A sample costs the steps of the base and three passes for each scale: from 4x4 to 32x32 pixels
    25 steps, to 64x64 pixels 28. To draw high resolutions of a given small image, pass it as
    ``observed`` to `Autoregressive.sample`.

    The likelihood is that of the base. If a site is a colour of a pixel, the colours of a group
    come one after another, and a pass is followed by a short step for each colour.

    Args:
        shape: (C, H, W), where H and W are the sides of the base, doubled once or more.
        base: The network of the smallest image, (C, h, w): for example a `GatedPixelCNN`. A context
            vector of this network enters the networks of all groups.
        width: Channels of the residual network of each group.
        depth: Blocks of the residual network.
        kernel_size: Odd side of the kernels, in cells of 2x2 pixels.
        head_width: Channels of the input of the last 1x1 convolution.
        shared: If true, all scales use the same three networks, which are told the scale; by
            default every scale has its own, as in the paper.

    Shape:
        - x: (\*batch, C, H, W); context: (\*batch, \*context_shape), both as for the base.
        - theta: (\*batch, \*grid, likelihood.num_params), where the grid is (C, H, W), or (H, W) if
          a site is a pixel.

    Raises:
        TypeError: If the base is not a `CausalNet`.
        ValueError: If the sides are not doublings of those of the base, or the context of the base
            is not a vector.

    Reference:
        Reed, van den Oord, Kalchbrenner, Gomez Colmenarejo, Wang, Chen, Belov and de Freitas
        (2017), Parallel Multiscale Autoregressive Density Estimation, sections 3.1 and 3.2, without
        the PixelCNN within patches.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN
        >>> base = GatedPixelCNN((1, 2, 2), levels=2, width=4, depth=1, head_width=4)
        >>> net = MultiscalePixelCNN((1, 8, 8), base, width=8, depth=1, head_width=8)
        >>> d = Autoregressive(net)
        >>> d.sample((5,)).shape, d.passes
        (torch.Size([5, 1, 8, 8]), 10)
    """

    def __init__(
        self,
        shape: Sequence[int],
        base: CausalNet,
        width: int = 128,
        depth: int = 12,
        kernel_size: int = 3,
        head_width: int = 256,
        shared: bool = False,
    ) -> None:
        name = type(self).__name__
        shape = check_sizes(name, "shape", shape, length=3)
        super().__init__(shape, base)
        sizes = GroupSizes(width, depth, kernel_size, head_width).checked(name)

        self.scales = self.factor.bit_length() - 1
        self.shared = shared

        def group_net(place: int) -> GroupNet:
            return GroupNet(
                place,
                shape[0],
                self.colours,
                self.likelihood.num_params,
                sizes,
                None if self.context_shape is None else self.context_shape[0],
                self.scales if shared else 1,
            )

        self.group_nets: Sequence[GroupNet] = nn.ModuleList(  # type: ignore[assignment]
            group_net(1 + place)
            for _ in range(1 if shared else self.scales)
            for place in range(GROUPS)
        )
        self.set_order(
            [self._sites_of(index) for index in range(self.scales * GROUPS * self.colours)]
        )

    def _check_shape(self, shape: tuple[int, ...], base_shape: tuple[int, int, int]) -> None:
        channels, height, width = base_shape
        scales = (shape[1] // height).bit_length() - 1
        if scales < 1 or tuple(shape) != (channels, height << scales, width << scales):
            sizes = ", ".join(f"({channels}, {height << s}, {width << s})" for s in (1, 2, 3))
            raise ValueError(
                f"{type(self).__name__} expects the shape of its base with sides doubled once or "
                f"more: {sizes}, ...; got {tuple(shape)} and a base of {base_shape}. Choose "
                "another base, or pad the images."
            )

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

        # theta of x^0, then of x^1, ..., as (N, colours, h, w, num_params)
        theta = self.base_params(self._resolution(images, 0), context, member)
        for scale in range(1, self.scales + 1):
            cells = self._scaled(self._resolution(images, scale))
            parts = [theta]
            for place in range(1, 1 + GROUPS):
                net = self._group_net(scale, place)
                features = net.features(first_pixels(cells, place), context, scale - 1)
                parts.append(net.theta(features, pixels_at(cells, place)))
            theta = interleave(parts)

        return theta.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialise the base, and set the last biases to the marginal distribution of a batch."""
        self.check_data(x)
        self.base.initialize(self._resolution(x, 0))

        for net in self.group_nets:
            if net.last.bias is not None:
                pixels = x.to(net.last.bias.dtype).movedim(-3, -1).flatten(0, -2)
                net.last.bias.copy_(self.likelihood.marginal(pixels).flatten())

    def rest_params(self, index: int, cache: MultiscaleCache) -> tuple[Tensor, Tensor]:
        scale, place, colour = self._position(index)
        net = self._group_net(scale, place)
        images = self.from_sites(cache.values)
        cells = self._scaled(self._resolution(images, scale))

        # The pass through the residual network is that of the first colour.
        features = cache.rest
        if colour == 0:
            known = first_pixels(cells, place)
            features = net.features(known, cache.context, scale - 1)

        theta = net.theta(features, pixels_at(cells, place))
        return theta[:, colour], features

    def _position(self, index: int) -> Group:
        """Return the scale, the place in a cell and the colour of a step after the base."""
        by_group, colour = divmod(index, self.colours)
        scale, group = divmod(by_group, GROUPS)
        return Group(1 + scale, 1 + group, colour)

    def _sites_of(self, index: int) -> list[int]:
        """Return the sites that a step after the base predicts."""
        scale, place, colour = self._position(index)
        cells = self._resolution(self.site_indices(), scale)
        sites: list[int] = pixels_at(cells, place)[colour].flatten().tolist()
        return sites

    def _group_net(self, scale: int, place: int) -> GroupNet:
        first = 0 if self.shared else (scale - 1) * GROUPS
        return self.group_nets[first + place - 1]

    def _resolution(self, images: Tensor, scale: int) -> Tensor:
        """Return x^scale, from the base (0) up to the whole image."""
        step = 2 ** (self.scales - scale)
        return images[..., ::step, ::step]

    def _scaled(self, x: Tensor) -> Tensor:
        """Return levels scaled to [-1, 1]; real values stay as they are."""
        levels = self.likelihood.levels
        return x if levels is None else x * (2 / (levels - 1)) - 1

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, scales={self.scales}, shared={self.shared}"
