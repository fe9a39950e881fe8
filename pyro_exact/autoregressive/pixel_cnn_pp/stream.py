"""A stream of PixelCNN++: residual blocks at three resolutions, down and up again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_cnn_pp.gated_resnet import Feature, GatedResnet, feature
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    ShiftedConv2d,
    ShiftedConvTranspose2d,
)
from pyro_exact.checks import LARGEST_COUNT, check_size

SCALES = 3


class PixelCNNppStream(nn.Module):
    r"""A stream of PixelCNN++: residual blocks at three resolutions, as in a U-Net.

    On the way up there is another block at each of the larger resolutions, and every block also
    sees a map of the way down, the last map first.

    Args:
        width: Channels of all maps.
        depth: Blocks at each resolution on the way down.
        kernel_size: Kernel size used by all convolutions.
        centred: See `ShiftedConv2d`.
        beside: If true, each block also sees the output of the same block of another stream.
        dropout: See `GatedResnet`.
        context_dim: See `GatedResnet`.

    Shape:
        - x: (N, H, W, width), with sides that 4 divides; returns a map (N, H', W', 2 width)
          for each block.

    Reference:
        Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, sections 2.3 and 2.4, and official
        code.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        kernel_size: tuple[int, int],
        centred: bool,
        beside: bool,
        dropout: float = 0.0,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        depth = check_size("PixelCNNppStream", "depth", depth, most=LARGEST_COUNT)

        # Indices of the blocks at each scale: on the way down, then on the way up.
        self.down = [range(s * depth, (s + 1) * depth) for s in range(SCALES)]
        ends = [6 * depth + 2, 5 * depth + 1, 4 * depth, 3 * depth]
        self.up = [range(ends[s + 1], ends[s]) for s in range(SCALES)]
        ways = [(s, way[s]) for way in (self.down, self.up) for s in range(SCALES)]
        self.scales = {index: scale for scale, indices in ways for index in indices}

        blocks = [
            GatedResnet(
                width,
                kernel_size,
                centred,
                sides=int(beside) + (index >= ends[-1]),  # on the way up also a map of the way down
                dropout=dropout,
                context_dim=context_dim,
            )
            for index in range(ends[0])
        ]
        shrink = [
            ShiftedConv2d(
                width,
                width,
                kernel_size,
                centred,
                stride=2,
            )
            for _ in range(SCALES - 1)
        ]
        grow = [ShiftedConvTranspose2d(width, width, kernel_size) for _ in range(SCALES - 1)]

        self.blocks: Sequence[GatedResnet] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.shrink: Sequence[ShiftedConv2d] = nn.ModuleList(shrink)  # type: ignore[assignment]
        self.grow: Sequence[ShiftedConvTranspose2d] = nn.ModuleList(grow)  # type: ignore[assignment]

    def forward(
        self,
        x: Tensor,
        beside: Sequence[Tensor] | None = None,
        context: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the activated output of each block."""
        outputs: list[Tensor] = []

        def block(x: Feature, *skip: Tensor) -> Feature:
            index = len(outputs)
            sides = skip if beside is None else (beside[index], *skip)
            y: Feature = self.blocks[index](x, *sides, context=context)
            outputs.append(y.active)
            return y

        maps = [feature(x)]
        for scale in range(SCALES):
            for _ in self.down[scale]:
                maps.append(block(maps[-1]))
            if scale < SCALES - 1:
                maps.append(feature(self.shrink[scale](maps[-1].value)))

        y = maps.pop()
        for scale in reversed(range(SCALES)):
            for _ in self.up[scale]:
                y = block(y, maps.pop().active)
            if scale:
                y = feature(self.grow[scale - 1](y.value))
        return outputs
