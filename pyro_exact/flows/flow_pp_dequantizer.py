"""The dequantisation noise of Flow++, as a bijection from noise to the cell of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_number, check_size
from pyro_exact.flows.arguments import image_shape
from pyro_exact.flows.flow_pp import Formula, coupling_steps
from pyro_exact.nn.attention import FlowPPContextNet
from pyro_exact.nn.conditioner import required
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.partition import Checkerboard, Columns, Partition
from pyro_exact.transforms.sigmoid_to_cell import SigmoidToCell


def flow_pp_dequantizer(
    shape: tuple[int, int, int],
    levels: int = 256,
    width: int = 96,
    depth: int = 2,
    components: int = 32,
    heads: int = 4,
    dropout: float = 0.2,
    formula: Formula = "mixture",
    checkerboard: bool = False,
    steps: int = 4,
    encoder_width: int = 32,
) -> Bijection:
    r"""Build Flow++'s dequantisation noise q(v | x).

    This bijection takes noise, a vector of size C H W, and an image x to v in [x, x + 1).

    Four steps as in `flow_pp` use the image via a network of gated convolutions, and the last layer
    is a `SigmoidToCell`. The corresponding context is the image, in pixel levels. This flow is used
    by `pyro_exact.distributions.FlowDequantizer`, for a `pyro_exact.models.Dequantized` model.
    ``initialize`` must be called, as for `flow_pp`.

    Args:
        shape: (C, H, W) of the images, with even W; with ``checkerboard``, even H too.
        levels: Pixel levels.
        width: Hidden channels of the conditioners.
        depth: Blocks of each conditioner.
        components: Components of the logistic mixture.
        heads: Attention heads.
        dropout: Share of the hidden units of the networks that are dropped in training.
        formula: ``"affine"`` has a shift and a scale only.
        checkerboard: If true, split as a checkerboard; the official code splits columns.
        steps: Steps of flow.
        encoder_width: Channels of the features of the image, which are used by the steps.

    Raises:
        ValueError: If the shape cannot be split, or the width is not a multiple of the heads.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.1 and official code
        (`Dequant`).

    Example:
        >>> noise = flow_pp_dequantizer((1, 4, 4), levels=17, width=8, depth=1, components=2)
        >>> pixels = torch.randint(17, (5, 1, 4, 4))
        >>> v = noise.condition(pixels)(torch.randn(5, 16))
        >>> bool((v.floor() == pixels).all())
        True
    """
    channels, _, _ = shape = image_shape("flow_pp_dequantizer", shape, levels)
    encoder_width = check_size("flow_pp_dequantizer", "encoder_width", encoder_width)
    dropout = check_number("flow_pp_dequantizer", "dropout", dropout, 0, 0.99)
    partition = (Checkerboard if checkerboard else Columns)(channels)
    fixed, free = partition.split(torch.empty(shape, device="meta"))
    encoder = FlowPPContextNet(fixed.shape[0] + free.shape[0], encoder_width, dropout=dropout)
    parts = coupling_steps(
        type(partition),
        shape,
        steps,
        formula,
        width,
        depth,
        components,
        heads,
        dropout,
        encoder_width,
    )
    inner = Compose([Flatten(shape).inv, *parts])
    return Compose([_Encoded(inner, encoder, partition, shape, levels), SigmoidToCell(3, shape)])


class _Encoded(Bijection):
    """A conditional bijection that uses features of an image as the context."""

    def __init__(
        self,
        bijection: Bijection,
        encoder: FlowPPContextNet,
        partition: Partition,
        shape: Shape,
        levels: int,
    ) -> None:
        super().__init__(bijection.event, bijection.output, shape)
        self.bijection, self.encoder, self.partition, self.levels = (
            bijection,
            encoder,
            partition,
            levels,
        )

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.transform(x, self.encoder(self._parts(x, context)))

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.invert(y, self.encoder(self._parts(y, context)))

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bijection.data_init(x, self.encoder.initialize(self._parts(x, context)))

    def forward_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.inverse_shape(shape)

    def _parts(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return both parts of the image, concatenated in the channels, in [-1/2, 1/2)."""
        image = required(context, self.context_shape or (), x)
        return torch.cat(self.partition.split(image / self.levels - 0.5), dim=-3)
