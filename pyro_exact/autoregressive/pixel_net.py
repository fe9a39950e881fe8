"""What the networks of images have in common that predict pixel by pixel, and in a pixel R, then G, then B."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import check_size
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.categorical import CategoricalLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn import line_buffer
from pyro_exact.nn.conditioner import by_number
from pyro_exact.nn.masked_convolution import MaskedConv2d
from pyro_exact.nn.step_state import State, progress


class Cursor(NamedTuple):
    """Where a step stands: its row and column, (1) each, and the lines of the image so far.

    ``batch`` is empty; its shape is (*batch, 0).
    """

    row: Tensor
    column: Tensor
    image: Tensor
    batch: Tensor


class PixelNet(CausalNet):
    r"""A network of images that predicts pixel by pixel, row by row, and in a pixel colour by colour.

    A site is one number of a pixel: 0 or 1 with two levels, else one of the levels with a logit for
    each. With another likelihood it may be a pixel with all its channels, or hold real numbers. The
    network sees levels scaled to [-1, 1], and real numbers as they are.

    A subclass writes `theta`, for whole images, whose last layer is ``last``. For steps that cost
    what one number of the image costs it writes `memory`, `begin_row` and `number`, of which the
    latter two write into their memory; steps carry no gradient.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels; `None` for real numbers.
        context: Size of a context vector, or shape of a context map (channels, H, W).
        likelihood: What theta means, if not that of single levels.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, \*grid,
          likelihood.num_params), where the grid is (C, H, W), or (H, W) if a site is a pixel.

    Raises:
        ValueError: If the shape is not that of images, there are fewer than two levels, real
            numbers have no likelihood, or the likelihood has another number of levels.
    """

    order: Tensor
    last: MaskedConv2d
    rows = columns = (
        1  # of the image that a step keeps: up to the last row, and of padding on either side
    )

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None,
        context: int | Sequence[int] | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        name = type(self).__name__
        if levels is not None:
            levels = check_size(name, "levels", levels, least=2)
        super().__init__(shape, of_levels(levels) if likelihood is None else likelihood, context)
        if len(self.event_shape) != 3:
            raise ValueError(
                f"{name} expects a shape (C, H, W); got {tuple(self.event_shape)}. For vectors, see MADE or NADE."
            )
        if self.likelihood.levels != levels:
            raise ValueError(
                f"{name} expects as many levels as its likelihood; got levels={levels} and a "
                f"{type(self.likelihood).__name__} of {self.likelihood.values}. Give both the same number."
            )
        self.channels, self.height, self.width = self.event_shape
        self.numbers = prod(self.likelihood.site_shape)
        self.colours = self.channels // self.numbers  # that come one after the other
        self.levels = levels
        order = torch.arange(self.sites).view(self.colours, -1).T.flatten()
        self.register_buffer("order", order, persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        images = self.scaled(self.values(x)).reshape(-1, *self.event_shape)
        theta = self.theta(images, self.contexts(context, x.shape[:-3]))
        num_params = self.likelihood.num_params
        return by_number(theta, num_params, x).reshape(*x.shape[:-3], *self.grid, num_params)

    def scaled(self, x: Tensor) -> Tensor:
        """Return levels in [-1, 1]."""
        return x if self.levels is None else x * (2 / (self.levels - 1)) - 1

    @torch.no_grad()
    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        weight = next(self.parameters())
        batch = weight.new_empty(*batch_shape, 0)
        rows = batch.shape[:-1].numel()
        image = line_buffer.start(
            weight, rows, self.rows, self.width, self.channels, self.columns, self.columns
        )
        row = torch.full((1,), -1, device=weight.device)
        cursor = Cursor(row, torch.zeros_like(row), image, batch)
        return progress(member, 0), cursor, self.memory(cursor, self.contexts(context, batch_shape))

    @torch.no_grad()
    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        (_, done, _), cursor, memory = state[0].shape, *state[1:]
        colour = done % self.colours
        if previous is not None:
            before = (colour - 1) % self.colours * self.numbers
            values = self.scaled(previous).reshape(-1, self.numbers)
            line_buffer.write(
                cursor.image[..., before : before + self.numbers],
                cursor.column + self.columns,
                values,
            )
        if done % (self.colours * self.width) == 0:
            cursor.row.add_(1)
            cursor.column.zero_()
            line_buffer.next_row(cursor.image)
            self.begin_row(cursor, memory)
        elif colour == 0:
            cursor.column.add_(1)
        theta = self.number(colour, cursor, memory)
        theta = theta.view(*cursor.batch.shape[:-1], self.likelihood.num_params)
        return theta, (progress(0, done + 1), cursor, memory)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the last bias to the marginal distribution of each colour in a batch."""
        self.examples(x)
        if self.last.bias is not None:
            colours = x.to(self.last.bias.dtype).movedim(1, -1).flatten(0, -2)
            self.last.bias.copy_(self.likelihood.marginal(colours).flatten())

    def phase(self, done: int) -> Hashable | None:
        pixel, colour = divmod(done, self.colours)
        return (colour, colour == 0 and pixel % self.width == 0) if done else None

    @abstractmethod
    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        """Return theta of all sites, (N, colours * num_params, H, W), from scaled images and their contexts."""

    @abstractmethod
    def memory(self, cursor: Cursor, context: Tensor | None) -> Any:
        """Return what the steps keep and read, besides the cursor."""

    @abstractmethod
    def begin_row(self, cursor: Cursor, memory: Any) -> None:
        """Do what a new row needs; the one above is complete."""

    @abstractmethod
    def number(self, colour: int, cursor: Cursor, memory: Any) -> Tensor:
        """Return theta of the site at the cursor that has this colour, (N, num_params)."""


def of_levels(levels: int | None) -> Likelihood:
    """Return the likelihood of one number with so many levels."""
    if levels is None:
        raise ValueError(
            "A network of real numbers expects a likelihood; got none. Give a GaussianLikelihood."
        )
    return BernoulliLikelihood() if levels == 2 else CategoricalLikelihood(levels)
