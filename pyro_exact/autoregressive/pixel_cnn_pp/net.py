"""PixelCNN++: two shifted streams at three resolutions, whose sites are whole pixels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    Pointwise,
    Prepared,
    ShiftedConv2d,
)
from pyro_exact.autoregressive.pixel_cnn_pp.stream import (
    SCALES,
    Due,
    ShiftedStream,
    StreamMemory,
)
from pyro_exact.checks import LARGEST_COUNT, check_size, check_sizes
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.nn import line_buffer
from pyro_exact.nn.rescaled import initialize_once
from pyro_exact.nn.step_state import State, progress
from pyro_exact.nn.weight_norm import WeightNormed


class Memory(NamedTuple):
    """What the steps keep: where they stand, the image so far, and what the streams keep."""

    batch: Tensor  # empty, of shape (*batch, 0)
    column: Tensor
    image: Tensor
    first: list[Prepared]
    above: StreamMemory
    left: StreamMemory
    rows: list[Tensor]  # the present one of each block above, (N, W', 2 filters)
    beside: Tensor  # what the other stream sees at first of the row above, (N, W, filters)
    last: tuple[Tensor, Tensor]


class PixelCNNpp(CausalNet):
    r"""PixelCNN++: one stream sees the rows above a pixel, the other one also the pixels to its left.

    Convolutions whose kernels end at the row, or at the pixel, need no masks once their input is
    shifted by a row or a column. Both streams are rows of `GatedResnet` at three resolutions, with
    a short cut into every block on the way back; each block of the second one sees that of the
    first. All channels of a pixel are predicted at once: the likelihood makes them dependent.
    Layers have normalised weights, and `initialize` sets them from
    data: do that before the weights are averaged or copied to other devices.

    A step computes the first stream by rows, the second by pixels, and a lower resolution where it
    is due. Steps have no dropout and carry no gradient.

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Number of pixel levels.
        width: Channels of either stream.
        depth: Residual blocks of a stream at each resolution.
        components: Logistics of the mixture.
        dropout: Share of hidden numbers that are dropped in training.
        context_dim: Size of a context vector, such as a class as a one-hot vector, which adds to every
            gate.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, context_dim).
        - theta: (\*batch, H, W, likelihood.num_params); see `DiscretizedLogisticMixture`.

    Raises:
        ValueError: If the shape is not that of images with sides that 4 divides, or a size is not
            positive.

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
        levels: int = 256,
        width: int = 160,
        depth: int = 5,
        components: int = 10,
        dropout: float = 0.5,
        context_dim: int | None = None,
    ) -> None:
        name = type(self).__name__
        shape = check_sizes(name, "shape", shape, length=3)
        if shape[1] % 4 or shape[2] % 4:
            raise ValueError(
                f"{name} expects a shape (C, H, W) with height and width that 4 divides; got {tuple(shape)}. Pad the "
                f"images."
            )
        depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        width = check_size(name, "width", width)
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)
        super().__init__(
            shape, DiscretizedLogisticMixture(shape[0], levels, components), context_dim
        )
        self.levels, self.height, self.width = levels, *self.grid
        channels = shape[0] + 1
        self.first_above = ShiftedConv2d(channels, width, (2, 3), centred=True)
        self.first_beside = ShiftedConv2d(channels, width, (1, 3), centred=True)
        self.first_left = ShiftedConv2d(channels, width, (2, 1), centred=True)
        self.above = ShiftedStream(width, depth, (2, 3), True, False, dropout, context_dim)
        self.left = ShiftedStream(width, depth, (2, 2), False, True, dropout, context_dim)
        self.last = Pointwise(width, self.likelihood.num_params)
        self.register_buffer("order", torch.arange(self.sites), persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        x = self.values(x)
        batch = x.shape[:-3]
        pixels = self._pixels(x.reshape(-1, *self.event_shape).movedim(1, -1))
        context = self.contexts(context, batch)
        above = self.above(_below(self.first_above(pixels)), None, context)
        first = _below(self.first_beside(pixels)) + _rightwards(self.first_left(pixels))
        left = self.left(first, above, context)
        theta: Tensor = self.last(_elu(left[-1]))
        return theta.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Give every layer normalised outputs on a batch, with a context of zeros if there is one."""
        self.examples(x)
        weight = self.last.bias
        context = (
            None if self.context_shape is None else weight.new_zeros(len(x), *self.context_shape)
        )
        initialize_once(self, x.to(weight.dtype), context, kind=WeightNormed)

    @torch.no_grad()
    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        weight = self.last.bias
        filters, n = len(self.first_above.bias), torch.Size(batch_shape).numel()
        context = self.contexts(context, batch_shape)
        image = self.first_above.start(n, self.width)
        first = [
            layer.prepare(image) for layer in (self.first_above, self.first_beside, self.first_left)
        ]
        above, left = (stream.start(n, self.width, context) for stream in (self.above, self.left))
        scales = (self.above.scales[number] for number in range(len(self.above.blocks)))
        rows = [weight.new_zeros(n, self.width >> scale, 2 * filters) for scale in scales]
        beside, column = weight.new_zeros(n, self.width, filters), torch.zeros_like(self.order[:1])
        empty = weight.new_empty(*batch_shape, 0)
        memory = Memory(empty, column, image, first, above, left, rows, beside, self.last.prepare())
        return progress(member, 0), memory

    @torch.no_grad()
    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        (_, done, _), memory = state[0].shape, state[1]
        row, column = divmod(done, self.width)
        if previous is not None:
            pixel = self._pixels(previous.reshape(len(memory.image), self.event_shape[0]))
            line_buffer.write(memory.image, memory.column + self.first_above.left, pixel)
        if column:
            memory.column.add_(1)
        else:
            memory.column.zero_()
            self._begin_row(row, memory)
        scales = range(_halvings(row, column) + 1)
        due = Due(
            [memory.column >> scale for scale in scales],
            [row >> scale & 1 for scale in scales],
            not column,
        )
        first = memory.beside.index_select(1, memory.column)
        if column:  # what is to the left of the map is zero, and not a bias
            first = first + self.first_left.step(memory.first[2], memory.image, memory.column)
        outputs = self.left.step(memory.left, first, due, memory.rows)
        theta = self.last.step(memory.last, _elu(outputs[max(outputs)]))
        return theta.view(*memory.batch.shape[:-1], theta.shape[-1]), (
            progress(0, done + 1),
            memory,
        )

    def phase(self, done: int) -> Hashable | None:
        period = 2 ** (SCALES - 1)
        row, column = divmod(done, self.width)
        return (row % period, column % period, column == 0) if done else None

    def _begin_row(self, row: int, memory: Memory) -> None:
        """Compute the row of the stream above, and what the other one sees of the row above."""
        scales = range(_halvings(row, 0) + 1)
        columns = [self.order[: self.width >> scale] for scale in scales]
        first = torch.zeros_like(memory.beside)  # what is above the map is zero, and not a bias
        if row:
            first = self.first_above.step(memory.first[0], memory.image, columns[0])
            memory.beside.copy_(self.first_beside.step(memory.first[1], memory.image, columns[0]))
        due = Due(columns, [row >> scale & 1 for scale in scales], True)
        for number, output in self.above.step(memory.above, first, due).items():
            memory.rows[number].copy_(output)
        line_buffer.next_row(memory.image)

    def _pixels(self, x: Tensor) -> Tensor:
        """Return levels (*, C) in [-1, 1], with a channel of ones, which marks what is inside the image."""
        return F.pad(x * (2 / (self.levels - 1)) - 1, (0, 1), value=1.0)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


def _below(x: Tensor) -> Tensor:
    """Move a map down by a row of zeros."""
    return F.pad(x[:, :-1], (0, 0, 0, 0, 1, 0))


def _rightwards(x: Tensor) -> Tensor:
    """Move a map to the right by a column of zeros."""
    return F.pad(x[:, :, :-1], (0, 0, 1, 0))


def _elu(activated: Tensor) -> Tensor:
    """Return the first half of a `concat_elu`."""
    return activated.chunk(2, dim=-1)[0]


def _halvings(row: int, column: int) -> int:
    """Return the lowest resolution that has a pixel at this place, by how many halvings."""
    return max(scale for scale in range(SCALES) if not (row | column) % 2**scale)
