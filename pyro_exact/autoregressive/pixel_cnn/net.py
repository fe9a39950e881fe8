"""PixelCNN: masked convolutions over the pixels before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn import line_buffer
from pyro_exact.nn.masked_convolution import MaskedConv2d, Prepared, groups, spans


class PixelCNN(PixelNet):
    r"""A stack of masked convolutions, from the pixels before to the distribution of the next number of a pixel.

    A 7x7 convolution with mask A, residual blocks with mask B, and two 1x1 convolutions; see
    `pyro_exact.nn.MaskedConv2d`. It has a **blind spot**: rows above are seen through kernels that
    are cut on the right in each row, so that with 3x3 kernels a wedge on the upper right of a
    pixel, beyond the first convolution, is never seen, however deep the network is. `GatedPixelCNN`
    has none.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels; two make bits.
        width: Channels in the middle of a residual block, h; the stream between the blocks has 2h.
        depth: Number of residual blocks.
        head_width: Channels between the two last convolutions; the paper has 1024 for colours, 32 for
            bits.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, C, H, W,
          likelihood.num_params).

    Raises:
        ValueError: If the shape is not that of images, there are fewer than two levels, or a layer
            has fewer channels than the image.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, sections
        3.4 and 3.5, table 1 and figure 5; on the blind spot Van den Oord, Kalchbrenner, Vinyals,
        Espeholt, Graves and Kavukcuoglu (2016), Conditional Image Generation with PixelCNN
        Decoders, figure 1.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(PixelCNN((3, 8, 8), levels=4, width=6, depth=2, head_width=6))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    rows, columns = 4, 3

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        width: int = 128,
        depth: int = 15,
        head_width: int = 1024,
    ) -> None:
        super().__init__(shape, levels)
        depth = check_size("PixelCNN", "depth", depth, most=LARGEST_COUNT)
        width = check_size("PixelCNN", "width", width)
        widths = 2 * width, width, head_width
        image, (stream, middle, last) = (
            groups(self.colours, self.colours),
            (groups(n, self.colours) for n in widths),
        )
        self.first = MaskedConv2d(image, stream, (7, 7), strict=True)
        self.blocks: Sequence[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(stream, middle) for _ in range(depth)
        )
        self.head = MaskedConv2d(stream, last)
        self.last = MaskedConv2d(last, image.repeat_interleave(self.likelihood.num_params))
        self.spans = [spans(n, self.colours) for n in widths]

    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        x: Tensor = self.first(images)
        for block in self.blocks:
            x = block(x)
        theta: Tensor = self.last(self.head(x.relu()).relu())
        return theta

    def memory(self, cursor: Cursor, context: Tensor | None) -> Memory:
        batch = len(cursor.image)
        dense = [layer for block in self.blocks for layer in (block.narrow, block.wide)] + [
            self.head,
            self.last,
        ]
        lines = [block.middle.start(batch, self.width) for block in self.blocks]
        layers = [layer for layer in self.modules() if isinstance(layer, MaskedConv2d)]
        return Memory(
            taps=(self.first.taps(cursor.image), self.blocks[0].middle.taps(lines[0])),
            lines=lines,
            pixels=[layer.start(batch, 1).flatten(1) for layer in dense],
            prepared=[
                [layer.prepare(colour) for layer in layers] for colour in range(self.colours)
            ],
        )

    def begin_row(self, cursor: Cursor, memory: Memory) -> None:
        for lines in memory.lines:
            line_buffer.next_row(lines)

    def number(self, colour: int, cursor: Cursor, memory: Memory) -> Tensor:
        stream, middle, last = (channels[colour] for channels in self.spans)
        weights, pixels, step = (
            iter(memory.prepared[colour]),
            iter(memory.pixels),
            MaskedConv2d.step,
        )

        def dense(x: Tensor, channels: slice) -> Tensor:
            return step(line_buffer.so_far(next(pixels), x.relu(), channels), next(weights))

        first, places = (taps + cursor.column for taps in memory.taps)
        x, column = step(line_buffer.window(cursor.image, first), next(weights)), cursor.column + 1
        for lines in memory.lines:
            line_buffer.write(lines[..., middle], column, dense(x, stream).relu())
            x = x + dense(step(line_buffer.window(lines, places), next(weights)), middle)
        return dense(dense(x, stream), last)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


class Block(nn.Module):
    """A residual block: 1x1 to half of the channels, 3x3, and 1x1 back, each after a ReLU."""

    def __init__(self, stream: Tensor, middle: Tensor) -> None:
        super().__init__()
        self.narrow = MaskedConv2d(stream, middle)
        self.middle = MaskedConv2d(middle, middle, (3, 3))
        self.wide = MaskedConv2d(middle, stream)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream after the block."""
        h = self.middle(self.narrow(x.relu()).relu())
        residual: Tensor = self.wide(h.relu())
        return x + residual


class Memory(NamedTuple):
    """What the steps keep: lines in each block, the input of each 1x1 layer at the pixel, and weights by colour."""

    taps: tuple[Tensor, Tensor]
    lines: list[Tensor]
    pixels: list[Tensor]
    prepared: list[list[Prepared]]
