"""The network that enlarges the small image of a Multi-Scale PixelRNN to a map of features."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_exact.checks import check_elements, check_size
from pyro_exact.nn.layout import channels_last


class Upsampler(nn.Module):
    r"""A deconvolution network from a small image to a map of the size of the large image.

    A 3x3 convolution, a ReLU, and a transposed convolution whose kernel is twice as wide as its
    stride.

    Args:
        channels: Channels of the small image.
        factor: Ratio of the sides of both images.
        width: Channels of the map.

    Shape:
        - small: (N, channels, h, w); map: (N, width, factor h, factor w).

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        3.6.
    """

    def __init__(
        self,
        channels: int,
        factor: int,
        width: int,
    ) -> None:
        super().__init__()
        name = "Upsampler"
        factor = check_size(name, "factor", factor, least=2)
        width = check_size(name, "width", width)
        check_elements(name, width, width, 2 * factor, 2 * factor)

        # An odd factor needs one row and column of padding more on one side.
        odd = factor % 2
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.ConvTranspose2d(
            width, width, 2 * factor, factor, padding=(factor + odd) // 2, output_padding=odd
        )

    def forward(self, small: Tensor) -> Tensor:
        """Return the map."""
        h = self.first(channels_last(small)).relu()
        enlarged: Tensor = self.last(h)
        return enlarged
