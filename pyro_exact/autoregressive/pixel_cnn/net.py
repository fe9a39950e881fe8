"""PixelCNN: a stack of masked convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_cnn.cache import PixelCNNCache
from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.nn.masked_convolution import MaskedConv2d, groups


class PixelCNN(PixelNet):
    r"""PixelCNN. Use this network as a simple baseline for other networks of images.

    .. math::
        x^0 = \mathrm{conv}^A_{7 \times 7}(x), \qquad x^l = x^{l-1} + f^l(x^{l-1}), \qquad
        \theta = (\mathrm{conv}^B_{1 \times 1} \circ \mathrm{relu})^2 (x^L)

    where :math:`f^l` is a residual block of convolutions with mask B; see
    `pyro_exact.nn.MaskedConv2d` for the masks. This network has a **blind spot**: rows above are
    seen through kernels that are cut on the right in each row. With 3x3 kernels a wedge on the
    upper right of a pixel, beyond the first convolution, is never seen, however deep the network
    is. `GatedPixelCNN` has no blind spot.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; two make bits.
        width: Channels in the middle of a residual block; the stream between the blocks has twice
            as many.
        depth: Residual blocks of the network.
        head_width: Channels between the last two convolutions; the paper uses 1024 for colours, 32
            for bits.
        likelihood: Distribution of a site, as an object or by name; the default is Bernoulli for
            two levels, otherwise categorical.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; theta: (\*batch, \*grid,
          likelihood.num_params), where the grid is (C, H, W), or (H, W) if a site is a pixel.

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

    image_rows, image_padding = 4, 3  # the first kernel is 7x7

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None = 256,
        width: int = 128,
        depth: int = 15,
        head_width: int = 1024,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        super().__init__(shape, levels, likelihood=likelihood)
        depth = check_size("PixelCNN", "depth", depth, most=LARGEST_COUNT)
        width = check_size("PixelCNN", "width", width)

        image = groups(self.channels, self.colours)
        stream = groups(2 * width, self.colours)
        middle = groups(width, self.colours)
        last = groups(head_width, self.colours)
        params = torch.arange(self.colours).repeat_interleave(self.likelihood.num_params)

        self.first = MaskedConv2d(image, stream, (7, 7), strict=True)
        blocks = [PixelCNNBlock(stream, middle) for _ in range(depth)]
        self.blocks: Sequence[PixelCNNBlock] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.head = MaskedConv2d(stream, last)
        self.last = MaskedConv2d(last, params)

    def theta(self, images: Tensor, context: Tensor | None) -> Tensor:
        x: Tensor = self.first(images)
        for block in self.blocks:
            x = block(x)

        x = self.head(x.relu())
        theta: Tensor = self.last(x.relu())
        return theta

    def init_cache(self, cursor: Cursor, context: Tensor | None) -> PixelCNNCache:
        return PixelCNNCache.of(self, cursor)


class PixelCNNBlock(nn.Module):
    """A residual block: a 1x1, a 3x3 and a 1x1 convolution with mask B, each after a ReLU.

    Args:
        stream: Colour of each channel of the stream between the blocks.
        middle: Colour of each channel inside the block.
    """

    def __init__(self, stream: Tensor, middle: Tensor) -> None:
        super().__init__()
        self.narrow = MaskedConv2d(stream, middle)
        self.middle = MaskedConv2d(middle, middle, (3, 3))
        self.wide = MaskedConv2d(middle, stream)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream after the block."""
        h = self.narrow(x.relu())
        h = self.middle(h.relu())
        residual: Tensor = self.wide(h.relu())
        return x + residual
