"""The base class of networks that predict an image pixel by pixel, in the order R, G, B."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from math import prod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import check_size
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.categorical import CategoricalLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn import line_buffer
from pyro_exact.nn.conditioner import split_params
from pyro_exact.nn.masked_convolution import MaskedConv2d
from pyro_exact.nn.step_state import StepState


class Cursor(NamedTuple):
    """The position of a step, and the image so far.

    Attributes:
        row: Row of the pixel, (1).
        column: Column of the pixel, (1).
        image: Line buffer of the scaled image, (N, rows, padded width, C).
        batch_shape: Batch shape of the images.
    """

    row: Tensor
    column: Tensor
    image: Tensor
    batch_shape: tuple[int, ...]

    def next_row(self) -> None:
        """Move to the first column of the next row."""
        self.row.add_(1)
        self.column.zero_()
        line_buffer.next_row(self.image)


class PixelCache(Protocol):
    """Tensors used by the steps of an image network: weights, features of earlier pixels.

    A cache is a `NamedTuple`, so that it can be copied and traced.
    """

    def start_row(self, cursor: Cursor) -> None:
        """Prepare a new row, when the row above is complete."""

    def site_params(
        self,
        colour: int,
        cursor: Cursor,
    ) -> Tensor:
        """Return the parameters of the site with this colour at the cursor, (N, num_params)."""


class PixelNet(CausalNet):
    r"""A network that predicts an image row by row, pixel by pixel, and colour by colour.

    A site is an element of a pixel: a bit when there are two levels, otherwise a level, with a
    logit for each level. Using another likelihood, a site may be a pixel with all channels, or a
    real value. Levels are scaled to [-1, 1] before they enter this network; real values are used as
    they are.

    A subclass must define `theta`, which computes whole images and ends with the layer ``last``,
    and `init_cache`, whose result computes single sites. Steps carry no gradient.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; use `None` for real data.
        context_shape: Size of a context vector, or shape of a context map (channels, H, W).
        likelihood: Distribution of a site, as an object or by name; the default is Bernoulli for
            two levels, otherwise categorical.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, \*grid,
          likelihood.num_params), where the grid is (C, H, W), or (H, W) if a site is a pixel.

    Raises:
        ValueError: If the shape is not that of images, there are fewer than two levels, no
            likelihood is given for real data, or the levels of the likelihood differ.
    """

    order: Tensor
    last: MaskedConv2d
    image_rows = image_padding = 1  # of the line buffer: rows, and columns of padding on each side

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None,
        context_shape: int | Sequence[int] | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        name = type(self).__name__
        if levels is not None:
            levels = check_size(name, "levels", levels, least=2)
        if likelihood is None:
            likelihood = of_levels(levels)
        channels = shape[0] if isinstance(shape, Sequence) and len(shape) > 0 else None
        likelihood = make_likelihood(likelihood, channels, levels)
        super().__init__(shape, likelihood, context_shape)

        if len(self.event_shape) != 3:
            raise ValueError(
                f"{name} expects a shape (C, H, W); got {tuple(self.event_shape)}. For vectors, "
                "see MADE or NADE."
            )
        if likelihood.levels != levels:
            raise ValueError(
                f"{name} expects as many levels as its likelihood; got levels={levels} and a "
                f"{type(likelihood).__name__} of {likelihood.values}. Give both the same number."
            )

        self.levels = levels
        self.channels, self.height, self.width = self.event_shape
        self.site_channels = prod(likelihood.site_shape)
        self.colours = (
            self.channels // self.site_channels
        )  # groups of channels, one after the other

        # Sites are numbered colour by colour, and predicted pixel by pixel.
        order = torch.arange(self.sites).view(self.colours, -1).T.flatten()
        self.register_buffer("order", order, persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    @abstractmethod
    def theta(
        self,
        images: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        """Return the parameters of all sites, (N, colours * num_params, H, W), of scaled images."""

    def flatten_context(
        self,
        context: Tensor | None,
        batch_shape: Sequence[int],
    ) -> Tensor | None:
        """Return the context as maps; a vector becomes a map of one pixel."""
        context = super().flatten_context(context, batch_shape)
        return context if context is None or context.dim() == 4 else context[..., None, None]

    def context_channels(self) -> int | None:
        """Return the channels of the context, or raise an error if it has another shape.

        Raises:
            ValueError: If the context is neither a vector nor a map of the size of the image.
        """
        if self.context_shape is None:
            return None
        if self.context_shape[1:] not in ((), (self.height, self.width)):
            raise ValueError(
                f"{type(self).__name__} expects a context vector, or a map of shape (channels, "
                f"{self.height}, {self.width}); got the shape {self.context_shape}. Resize the map."
            )
        return self.context_shape[0]

    @abstractmethod
    def init_cache(
        self,
        cursor: Cursor,
        context: Tensor | None,
    ) -> PixelCache:
        """Return the cache of the steps before the first pixel."""

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        batch, num_params = x.shape[:-3], self.likelihood.num_params
        images = self.scale(self.check_input(x)).reshape(-1, *self.event_shape)
        theta = self.theta(images, self.flatten_context(context, batch))
        return split_params(theta, num_params, x).reshape(*batch, *self.grid, num_params)

    def scale(self, x: Tensor) -> Tensor:
        """Return levels scaled to [-1, 1]; real values stay as they are."""
        return x if self.levels is None else x * (2 / (self.levels - 1)) - 1

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the last bias to the marginal distribution of each colour in a batch."""
        self.check_data(x)
        if self.last.bias is not None:
            pixels = x.to(self.last.bias.dtype).movedim(1, -1).flatten(0, -2)
            self.last.bias.copy_(self.likelihood.marginal(pixels).flatten())

    # Steps
    # ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        weight = next(self.parameters())
        n, padding = torch.Size(batch_shape).numel(), self.image_padding
        image = line_buffer.empty_lines(
            weight,
            n,
            self.image_rows,
            self.width,
            self.channels,
            padding,
            padding,
        )

        row = torch.full((1,), -1, device=weight.device)
        cursor = Cursor(row, torch.zeros_like(row), image, tuple(batch_shape))
        cache = self.init_cache(cursor, self.flatten_context(context, batch_shape))
        return StepState(member, 0, (cursor, cache))

    @torch.no_grad()
    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        cursor, cache = state.cache
        pixel, colour = divmod(state.done, self.colours)

        if previous is not None:
            self._write(previous, (colour - 1) % self.colours, cursor)

        if colour == 0 and pixel % self.width == 0:
            cursor.next_row()
            cache.start_row(cursor)
        elif colour == 0:
            cursor.column.add_(1)

        theta = cache.site_params(colour, cursor)
        theta = theta.view(*cursor.batch_shape, 1, self.likelihood.num_params)
        return theta, state.next((cursor, cache))

    def phase(self, index: int) -> Hashable | None:
        pixel, colour = divmod(index, self.colours)
        starts_row = colour == 0 and pixel % self.width == 0
        return (colour, starts_row) if index else None

    def _write(
        self,
        values: Tensor,
        colour: int,
        cursor: Cursor,
    ) -> None:
        """Write the values of a site into the image at the cursor."""
        first = colour * self.site_channels
        channels = cursor.image[..., first : first + self.site_channels]
        scaled = self.scale(values).reshape(-1, self.site_channels)
        line_buffer.write_column(channels, cursor.column + self.image_padding, scaled)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


def of_levels(levels: int | None) -> Likelihood:
    """Return the default likelihood of an element with these levels.

    Raises:
        ValueError: If ``levels`` is `None`: there is no default for real data.
    """
    if levels is None:
        raise ValueError(
            "A network of real numbers expects a likelihood; got none. Give a GaussianLikelihood."
        )
    return BernoulliLikelihood() if levels == 2 else CategoricalLikelihood(levels)
