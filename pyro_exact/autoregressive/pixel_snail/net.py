"""PixelSNAIL: gated convolutions, and attention of each pixel to all pixels before it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import Pointwise, ShiftedConv2d
from pyro_exact.autoregressive.pixel_net import of_levels
from pyro_exact.autoregressive.pixel_snail.attention import PixelAttention
from pyro_exact.autoregressive.pixel_snail.block import SnailBlock
from pyro_exact.autoregressive.pixel_snail.cache import PixelSNAILCache
from pyro_exact.checks import LARGEST_COUNT, check_share, check_size, check_sizes, shown
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.rescaled import initialize_once
from pyro_exact.nn.step_state import StepState
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.elu import elu


class PixelSNAIL(CausalNet):
    r"""PixelSNAIL: blocks of gated 2x2 convolutions, each with attention over all pixels before.

    Convolutions see the pixels nearby, attention sees the image so far. All channels of a pixel are
    predicted at once: by default the likelihood, a mixture of discretised logistics, makes the
    channels dependent. Layers have normalised weights, and `initialize` sets these using data: this
    must be called before training, and before the weights are averaged or copied to other devices.

    A step computes one pixel, using a row of the input of each convolution, and the keys and
    values of all pixels so far. Steps have no dropout and carry no gradient.

    The defaults are those of the released model for CIFAR-10.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel.
        width: Channels of the features.
        depth: Blocks of the network.
        resnets: Gated residual layers of each block.
        key_dim: Channels of the keys of each attention.
        value_dim: Channels of the values; by default half the width.
        pool: Keys and values are maxima over squares of this side, which divides the sides of the
            image; with 2, the attention over large images costs a quarter.
        components: Logistics of the mixture.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector, for example a one-hot class or a latent vector, which
            adds to every gate.
        likelihood: Distribution of a site, as an object or by name, which must be a whole pixel.
            The default is a `DiscretizedLogisticMixture`, or a `BernoulliLikelihood` for images of
            one channel and two levels.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, context_dim).
        - theta: (\*batch, H, W, likelihood.num_params), or (\*batch, 1, H, W,
          likelihood.num_params) if a site is the only element of a pixel.

    Raises:
        ValueError: If the shape is not that of images, the squares do not divide the image, or
            sites are not whole pixels.

    Reference:
        Chen, Mishra, Rohaninejad and Abbeel (2018), PixelSNAIL: An Improved Autoregressive
        Generative Model, and official code (`h12_noup_smallkey`; `h12_pool2_smallkey` for squares).

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive, PixelSNAIL
        >>> net = PixelSNAIL((3, 4, 4), width=8, depth=1, resnets=1, key_dim=2, components=2)
        >>> d = Autoregressive(net.eval())
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    order: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        width: int = 256,
        depth: int = 12,
        resnets: int = 4,
        key_dim: int = 16,
        value_dim: int | None = None,
        pool: int = 1,
        components: int = 10,
        dropout: float = 0.5,
        context_dim: int | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        name = type(self).__name__
        channels, height, image_width = check_sizes(name, "shape", shape, length=3)
        levels = check_size(name, "levels", levels, least=2)
        width = check_size(name, "width", width)
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        resnets = check_size(name, "resnets", resnets, least=0, most=LARGEST_COUNT)
        key_dim = check_size(name, "key_dim", key_dim)
        value_dim = max(width // 2, 1) if value_dim is None else value_dim
        value_dim = check_size(name, "value_dim", value_dim)
        pool = _check_pool(pool, height, image_width)
        dropout = check_share(name, "dropout", dropout)
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)

        likelihood = _of_pixels(channels, levels, components, likelihood)
        super().__init__((channels, height, image_width), likelihood, context_dim)
        self.levels = levels

        inputs = channels + 1  # a channel of ones marks the inside of the image
        self.first_above = ShiftedConv2d(inputs, width, (1, 3), centred=True)
        self.first_left = ShiftedConv2d(inputs, width, (2, 1), centred=True)

        def block() -> SnailBlock:
            sizes = channels, width, height, image_width, key_dim, value_dim, pool
            attention = PixelAttention(*sizes, dropout, context_dim)
            return SnailBlock(attention, width, resnets, dropout, context_dim)

        self.blocks: Sequence[SnailBlock] = nn.ModuleList(  # type: ignore[assignment]
            block() for _ in range(depth)
        )
        self.last = Pointwise(width, likelihood.num_params)
        self.register_buffer("order", torch.arange(self.sites), persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        x = self.check_input(x)
        batch = x.shape[:-3]
        context = self.flatten_context(context, batch)
        images = x.reshape(-1, *self.event_shape)
        marked = self._marked(images.movedim(1, -1))
        pixels = marked[..., :-1]

        # The row above, then the pixels on the left. The shift comes after the bias, so that the
        # outside of the image is zero.
        above = self.first_above(marked)
        above = F.pad(above[:, :-1], (0, 0, 0, 0, 1, 0))
        left = self.first_left(marked)
        left = F.pad(left[:, :, :-1], (0, 0, 1, 0))

        features = above + left
        for block in self.blocks:
            features = block(pixels, features, context)

        theta: Tensor = self.last(elu(features))
        return theta.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Give every layer normalised outputs on a batch, using zeros as the context, if any."""
        self.check_data(x)
        weight, context = self.last.bias, None
        if self.context_shape is not None:
            context = weight.new_zeros(len(x), *self.context_shape)

        images = x.to(weight.dtype)
        initialize_once(self, images, context, kind=WeightNormed)

    @torch.no_grad()
    def init_state(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> StepState:
        context = self.flatten_context(context, batch_shape)
        cache = PixelSNAILCache.of(self, tuple(batch_shape), context)
        return StepState(member, 0, cache)

    @torch.no_grad()
    def step(self, state: StepState, previous: Tensor | None = None) -> tuple[Tensor, StepState]:
        cache: PixelSNAILCache = state.cache
        new_row = state.done % self.grid[-1] == 0

        if previous is not None:
            pixel = previous.reshape(-1, self.event_shape[0])
            cache.write(self._marked(pixel))
        if new_row:
            cache.start_row(first=previous is None)

        theta = cache.pixel_params(
            first=previous is None,
            new_row=new_row,
            sees_others=state.done >= self._first_seeing,
        )
        theta = theta.view(*cache.batch_shape, 1, theta.shape[-1])
        return theta, state.next(cache)

    def phase(self, index: int) -> Hashable | None:
        if index == 0:
            return None
        new_row = index % self.grid[-1] == 0
        return new_row, index >= self._first_seeing

    @property
    def _first_seeing(self) -> int:
        """Index of the first pixel whose attention sees another pixel."""
        return self.blocks[0].attention.first_seeing

    def _marked(self, x: Tensor) -> Tensor:
        """Return levels (*, C) scaled to [-1, 1], with a channel of ones inside of the image."""
        scaled = x * (2 / (self.levels - 1)) - 1
        return F.pad(scaled, (0, 1), value=1.0)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


def _of_pixels(
    channels: int, levels: int, components: int, likelihood: AnyLikelihood | None
) -> Likelihood:
    """Return the likelihood of whole pixels, or raise an error if it does not fit."""
    if likelihood is None:
        if channels == 1 and levels == 2:
            return of_levels(levels)
        return DiscretizedLogisticMixture(channels, levels, components)

    likelihood = make_likelihood(likelihood, channels, levels)
    whole = isinstance(likelihood, Likelihood) and prod(likelihood.site_shape) == channels
    if not whole or likelihood.levels != levels:
        raise ValueError(
            f"PixelSNAIL expects a likelihood of whole pixels of {channels} channels and {levels} "
            f"levels; got {shown(likelihood)}. Use DiscretizedLogisticMixture."
        )
    return likelihood


def _check_pool(pool: int, height: int, width: int) -> int:
    """Return the side of the squares over which keys are pooled."""
    pool = check_size("PixelSNAIL", "pool", pool)
    if height % pool or width % pool:
        raise ValueError(
            f"PixelSNAIL expects squares that divide the image; got pool={pool} and images "
            f"{(height, width)}. Choose a common divisor of the sides, or pad the images."
        )
    return pool
