"""PixelCNN++: two shifted streams at three resolutions, which predict whole pixels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.pixel_cnn_pp.cache import PixelCNNppCache, first_half
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import Pointwise, ShiftedConv2d
from pyro_exact.autoregressive.pixel_cnn_pp.stream import SCALES, PixelCNNppStream
from pyro_exact.checks import LARGEST_COUNT, check_size, check_sizes
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.rescaled import initialize_once
from pyro_exact.nn.step_state import StepState
from pyro_exact.nn.weight_norm import WeightNormed


class PixelCNNpp(CausalNet):
    r"""PixelCNN++. Use this network for images when whole pixels should be predicted at once.

    The first stream of convolutions sees the rows above a pixel, the second stream also the pixels
    on the left. Kernels that end at the row, or at the pixel, need no masks once their input is
    shifted by a row or a column. Both streams have residual blocks (`GatedResnet`) at three
    resolutions, with skip connections from the way down to the way up; each block of the second
    stream also sees the same block of the first. Within a pixel the likelihood makes the
    channels dependent.

    The weights are normalised, and `initialize` sets weights and biases using data: this must
    be called before the weights are averaged or copied to other devices. Steps have no dropout
    and carry no gradient.

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Levels of a pixel; use `None` for real data, when the likelihood must be given.
        width: Channels of either stream.
        depth: Residual blocks of a stream at each resolution.
        components: Logistics of the default likelihood.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector, for example a one-hot class, which adds to every
            gate.
        likelihood: Distribution of a pixel, as an object or by name; by default a
            `DiscretizedLogisticMixture`. A likelihood of single elements can be used for images of
            one channel.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, context_dim).
        - theta: (\*batch, \*grid, likelihood.num_params), where the grid is (H, W) for a
          likelihood of pixels; see `DiscretizedLogisticMixture`.

    Raises:
        ValueError: If the shape is not that of images with sides that 4 divides, a size is not
            positive, or the likelihood is not a likelihood of whole pixels with these levels.

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++: Improving the PixelCNN with
        Discretized Logistic Mixture Likelihood and Other Modifications, and official code.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = PixelCNNpp((3, 8, 8), width=4, depth=1, components=2)
        >>> d = Autoregressive(net.eval())
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    order: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None = 256,
        width: int = 160,
        depth: int = 5,
        components: int = 10,
        dropout: float = 0.5,
        context_dim: int | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        name = type(self).__name__
        channels, height, image_width = check_sizes(name, "shape", shape, length=3)
        if height % 4 or image_width % 4:
            raise ValueError(
                f"{name} expects a shape (C, H, W) with a height and a width that are multiples "
                f"of 4; got {(channels, height, image_width)}. Pad the images."
            )
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        width = check_size(name, "width", width)
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)

        likelihood = _of_pixels(name, channels, levels, components, likelihood)
        super().__init__((channels, height, image_width), likelihood, context_dim)
        self.levels = levels

        inputs = channels + 1  # a channel of ones marks the inside of the image
        self.first_above = ShiftedConv2d(inputs, width, (2, 3), centred=True)
        self.first_beside = ShiftedConv2d(inputs, width, (1, 3), centred=True)
        self.first_left = ShiftedConv2d(inputs, width, (2, 1), centred=True)
        self.above = PixelCNNppStream(width, depth, (2, 3), True, False, dropout, context_dim)
        self.left = PixelCNNppStream(width, depth, (2, 2), False, True, dropout, context_dim)
        self.last = Pointwise(width, likelihood.num_params)
        self.register_buffer("order", torch.arange(self.sites), persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        x = self.check_input(x)
        batch = x.shape[:-3]
        images = x.reshape(-1, *self.event_shape)
        context = self.flatten_context(context, batch)
        pixels = self._pixels(images.movedim(1, -1))

        # The stream above sees the rows above, so the first map is moved down by a row.
        above = self.above(_move_down(self.first_above(pixels)), None, context)

        # The other stream also sees the pixels on the left.
        first = _move_down(self.first_beside(pixels)) + _move_right(self.first_left(pixels))
        left = self.left(first, above, context)

        theta: Tensor = self.last(first_half(left[-1]))
        return theta.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Give every layer normalised outputs on a batch, using zeros as the context, if any."""
        self.check_data(x)
        weight, context = self.last.bias, None
        if self.context_shape is not None:
            context = weight.new_zeros(len(x), *self.context_shape)
        initialize_once(self, x.to(weight.dtype), context, kind=WeightNormed)

    @torch.no_grad()
    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        context = self.flatten_context(context, batch_shape)
        return StepState(member, 0, PixelCNNppCache.of(self, tuple(batch_shape), context))

    @torch.no_grad()
    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        cache: PixelCNNppCache = state.cache
        row, column = divmod(state.done, self.grid[-1])

        if previous is not None:
            cache.write(self._pixels(previous.reshape(-1, self.event_shape[0])))
        if column:
            cache.column.add_(1)
        else:
            cache.start_row(row)

        theta = cache.pixel_params(row, column)
        return theta.view(*cache.batch_shape, 1, theta.shape[-1]), state.next(cache)

    def phase(self, index: int) -> Hashable | None:
        period = 2 ** (SCALES - 1)
        row, column = divmod(index, self.grid[-1])
        return (row % period, column % period, column == 0) if index else None

    def _pixels(self, x: Tensor) -> Tensor:
        """Return levels (*, C) scaled to [-1, 1], with a channel of ones inside of the image."""
        scaled = x if self.levels is None else x * (2 / (self.levels - 1)) - 1
        return F.pad(scaled, (0, 1), value=1.0)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


def _of_pixels(
    name: str,
    channels: int,
    levels: int | None,
    components: int,
    likelihood: AnyLikelihood | None,
) -> Likelihood:
    """Return the likelihood of whole pixels, or raise an error if it does not fit."""
    if likelihood is None:
        if levels is None:
            raise ValueError(
                f"{name} of real values expects a likelihood; got none. Pass a GaussianLikelihood."
            )
        return DiscretizedLogisticMixture(channels, levels, components)

    likelihood = make_likelihood(likelihood, channels, levels)
    if isinstance(likelihood, Likelihood):
        if not likelihood.site_shape and channels > 1:
            raise ValueError(
                f"{name} expects a likelihood of whole pixels with {channels} channels; got a "
                f"{type(likelihood).__name__} of single elements. Use DiscretizedLogisticMixture, "
                "or GatedPixelCNN."
            )
        if likelihood.levels != levels:
            raise ValueError(
                f"{name} expects the levels of the likelihood; got levels={levels} and a "
                f"{type(likelihood).__name__} of {likelihood.values}. Pass the same levels to "
                "both."
            )
    return likelihood


def _move_down(x: Tensor) -> Tensor:
    """Move a map down by a row of zeros."""
    return F.pad(x[:, :-1], (0, 0, 0, 0, 1, 0))


def _move_right(x: Tensor) -> Tensor:
    """Move a map to the right by a column of zeros."""
    return F.pad(x[:, :, :-1], (0, 0, 1, 0))
