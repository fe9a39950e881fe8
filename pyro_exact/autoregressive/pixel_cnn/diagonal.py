"""PixelCNN by diagonals: all pixels of a slanted diagonal in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.pixel_cnn.cache import BlockFeatures, BlockWeights, Weights
from pyro_exact.autoregressive.pixel_cnn.net import PixelCNN
from pyro_exact.nn.line_buffer import empty_lines, kernel_offsets, update_pixel
from pyro_exact.nn.masked_convolution import MaskedConv2d
from pyro_exact.nn.step_state import StepState

REACH = 3  # columns on the right, for each row above, that a pixel can depend on


class DiagonalPixelCNN(CausalNet):
    r"""A PixelCNN whose steps predict a diagonal of pixels. Use it to sample and to code faster.

    A pixel depends on at most 3 pixels on its right in the row above, because the first kernel is
    7x7, and on one more in each further row. The pixels (i, j) with equal :math:`4 i + j` therefore
    do not depend on each other, whatever the depth of the network: 32x32 pixels take :math:`31
    \cdot 4 + 32 = 156` steps for each colour, not 1,024. The probabilities are those of the
    network, and the weights are shared.

    Args:
        net: The network.

    Shape:
        - x and theta: as in `PixelCNN`.

    Raises:
        TypeError: If ``net`` is not a `PixelCNN`.

    Reference:
        Zhang, Townsend, Kang and Barber (2022), Parallel Neural Local Lossless Compression, who
        shear the images of a local network.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = PixelCNN((1, 8, 8), levels=2, width=4, depth=3, head_width=4)
        >>> d = Autoregressive(DiagonalPixelCNN(net))
        >>> d.sample((5,)).shape, d.passes
        (torch.Size([5, 1, 8, 8]), 36)
    """

    order: Tensor

    def __init__(self, net: PixelCNN) -> None:
        if not isinstance(net, PixelCNN):
            raise TypeError(
                f"DiagonalPixelCNN expects a PixelCNN; got {type(net).__name__}. In other networks "
                "a pixel depends on the whole row above: use their own steps."
            )
        super().__init__(net.event_shape, net.likelihood)
        self.net = net

        # The pixels of each diagonal, as indices in the order of the rows.
        row, column = torch.arange(net.height)[:, None], torch.arange(net.width)
        diagonal = ((REACH + 1) * row + column).flatten()
        pixels = diagonal.argsort(stable=True)
        counts = diagonal.bincount().tolist()
        self.diagonals = [part.tolist() for part in pixels.split(counts) if len(part)]

        size = net.height * net.width
        sites: list[int] = []
        self._groups: list[slice] = []
        for part in self.diagonals:
            for colour in range(net.colours):
                start = len(sites)
                sites += [colour * size + pixel for pixel in part]
                self._groups.append(slice(start, len(sites)))
        self.register_buffer("order", torch.tensor(sites), persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    @property
    def num_steps(self) -> int:
        return len(self._groups)

    def group(self, index: int) -> slice:
        return self._groups[index]

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        theta: Tensor = self.net(x, context)
        return theta

    def initialize(self, x: Tensor) -> None:
        self.net.initialize(x)

    @torch.no_grad()
    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        most = max(len(part) for part in self.diagonals)
        cache = DiagonalCache.of(self.net, tuple(batch_shape), most)
        return StepState(member, 0, cache)

    @torch.no_grad()
    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        net, cache = self.net, state.cache
        colours = net.colours

        if previous is not None:
            before, colour = divmod(state.done - 1, colours)
            pixels = self._pixels(before)
            channels = slice(colour * net.site_channels, (colour + 1) * net.site_channels)
            values = net.scale(previous).reshape(cache.batch, len(pixels), net.site_channels)
            cache.image.write(pixels, values, channels)

        diagonal, colour = divmod(state.done, colours)
        pixels = self._pixels(diagonal)
        theta = cache.params(colour, pixels)
        shape = (*cache.batch_shape, len(pixels), self.likelihood.num_params)
        return theta.view(shape), state.next(cache)

    def _pixels(self, diagonal: int) -> Tensor:
        """Return the pixels of a diagonal as indices in the order of the rows."""
        return torch.tensor(self.diagonals[diagonal], device=self.order.device)


class FeatureMap(NamedTuple):
    """A whole feature map with padding, of which a kernel sees windows.

    Attributes:
        values: (N, positions, channels), the padded rows one after the other.
        offsets: Positions that the kernel sees at the first pixel.
        width: Width of the image.
        padded: Width of a padded row.
        own: Position of the first pixel.
    """

    values: Tensor
    offsets: Tensor
    width: int
    padded: int
    own: int

    @classmethod
    def of(
        cls,
        layer: MaskedConv2d,
        count: int,
        height: int,
        width: int,
    ) -> FeatureMap:
        """Return a map of zeros, the input of a layer."""
        channels = layer.weight.shape[1]
        lines = empty_lines(
            layer.weight,
            count,
            layer.rows - 1 + height,
            width,
            channels,
            layer.left,
            layer.right,
        )
        padded = lines.shape[2]
        offsets = kernel_offsets(
            lines[:, : layer.rows],
            layer.rows,
            layer.columns,
            layer.left + 1,
        )
        own = (layer.rows - 1) * padded + layer.left
        return cls(lines.flatten(1, 2), offsets, width, padded, own)

    def windows(self, pixels: Tensor) -> Tensor:
        """Return the window of the kernel at each pixel, (N * pixels, positions * channels)."""
        positions = self._positions(pixels).unsqueeze(-1) + self.offsets
        seen = self.values.index_select(1, positions.flatten())
        size = len(self.offsets) * seen.shape[-1]
        return seen.view(len(self.values) * len(pixels), size)

    def write(
        self,
        pixels: Tensor,
        values: Tensor,
        channels: slice,
    ) -> None:
        """Write some channels of pixels, (N, pixels, channels)."""
        self.values[:, self._positions(pixels) + self.own, channels] = values

    def _positions(self, pixels: Tensor) -> Tensor:
        """Return the positions of pixels in the padded rows, from that of the first pixel."""
        return pixels // self.width * self.padded + pixels % self.width


class DiagonalCache(NamedTuple):
    """Tensors that the steps read and write.

    Attributes:
        batch_shape: Batch shape of the images.
        batch: Images, N.
        weights: Weights for each colour.
        image: The scaled image.
        middles: Input of the 3x3 convolution of each block.
        blocks: Inputs of the 1x1 convolutions of each block, (N * pixels, channels).
        head: Input of the convolution before the last.
        last: Input of the last convolution.
    """

    batch_shape: tuple[int, ...]
    batch: int
    weights: list[Weights]
    image: FeatureMap
    middles: list[FeatureMap]
    blocks: list[BlockFeatures]
    head: Tensor
    last: Tensor

    @classmethod
    def of(
        cls,
        net: PixelCNN,
        batch_shape: tuple[int, ...],
        most: int,
    ) -> DiagonalCache:
        """Return the cache before the first pixel, for diagonals of at most ``most`` pixels."""
        count = torch.Size(batch_shape).numel()
        rows = count * most

        middles, blocks = [], []
        for block in net.blocks:
            middle = FeatureMap.of(block.middle, count, net.height, net.width)
            middles.append(middle)
            blocks.append(
                BlockFeatures(
                    narrow=block.narrow.empty_pixel(rows),
                    middle=middle.values,
                    wide=block.wide.empty_pixel(rows),
                )
            )
        return cls(
            batch_shape=batch_shape,
            batch=count,
            weights=[Weights.of(net, colour) for colour in range(net.colours)],
            image=FeatureMap.of(net.first, count, net.height, net.width),
            middles=middles,
            blocks=blocks,
            head=net.head.empty_pixel(rows),
            last=net.last.empty_pixel(rows),
        )

    def params(self, colour: int, pixels: Tensor) -> Tensor:
        """Return the parameters of a colour of pixels, (N * pixels, num_params)."""
        weights = self.weights[colour]
        x = weights.first(self.image.windows(pixels))

        parts = zip(self.blocks, self.middles, weights.blocks, strict=True)
        for features, middle, block in parts:
            x = x + self._residual(x, features, middle, block, weights, pixels)

        rows = len(x)
        x = weights.head(update_pixel(self.head[:rows], x.relu(), weights.stream_channels))
        return weights.last(update_pixel(self.last[:rows], x.relu(), weights.head_channels))

    def _residual(
        self,
        x: Tensor,
        features: BlockFeatures,
        middle: FeatureMap,
        block: BlockWeights,
        weights: Weights,
        pixels: Tensor,
    ) -> Tensor:
        """Return the residual of a block at the pixels."""
        rows, channels = len(x), weights.middle_channels
        narrow = update_pixel(features.narrow[:rows], x.relu(), weights.stream_channels)
        h = block.narrow(narrow).relu()

        middle.write(pixels, h.view(self.batch, len(pixels), h.shape[-1]), channels)
        h = block.middle(middle.windows(pixels))
        return block.wide(update_pixel(features.wide[:rows], h.relu(), channels))
