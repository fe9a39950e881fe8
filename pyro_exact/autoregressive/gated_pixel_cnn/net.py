"""Gated PixelCNN: two stacks of gated convolutions, which together see every earlier pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.gated_pixel_cnn.cache import GatedPixelCNNCache
from pyro_exact.autoregressive.gated_pixel_cnn.layer import GatedLayer
from pyro_exact.autoregressive.pixel_net import Cursor, PixelNet
from pyro_exact.checks import LARGEST_COUNT, check_kernel, check_size
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.nn.masked_convolution import MaskedConv2d, groups


class GatedPixelCNN(PixelNet):
    r"""Gated PixelCNN. Use it for images, and as a decoder of images given a latent or a class.

    .. math::
        a_v &= W_v * v + V_v c, \qquad &v' &= \gamma(a_v) \\
        a_h &= W_h * h + W_{vh}\, a_v + V_h c, \qquad &h' &= h + W_r\, \gamma(a_h), \qquad
        \gamma(a, b) = \tanh(a) \odot \sigma(b)

    The vertical stack :math:`v` sees the rows above a pixel without a mask, the horizontal stack
    :math:`h` sees the row of the pixel. Together they have no blind spot: in a network that is deep
    enough for the image, every element depends on all earlier elements. The gates of the horizontal
    stack also add to the input of two last 1x1 convolutions (skip connections). A context :math:`c`
    adds to every gate: for example a one-hot class, a latent vector, or a map of the size of the
    image.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; two make bits. Use `None` for real data, when the likelihood must
            be given.
        width: Channels of either stack.
        depth: Layers after the first, which has a 7x7 kernel.
        kernel_size: Odd side of the kernels of these layers.
        head_width: Channels of the input of the last two convolutions.
        context_shape: Size of a context vector, or shape of a context map (channels, H, W).
        likelihood: Distribution of a site, as an object or by name; the default is Bernoulli for
            two levels, otherwise categorical. With `DiscretizedLogisticMixture` a site is a pixel
            with all channels.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, \*context_shape).
        - theta: (\*batch, \*grid, likelihood.num_params), where the grid is (C, H, W), or (H, W) if
          a site is a pixel.

    Raises:
        ValueError: If the shape is not that of images, a context is neither a vector nor a map of
            the size of the image, there are fewer than two levels, or a layer has fewer channels
            than the image has colours.

    Reference:
        Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu (2016), Conditional
        Image Generation with PixelCNN Decoders, equations 2-4 and figure 2.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> sizes = {"width": 8, "depth": 2, "head_width": 8}
        >>> net = GatedPixelCNN((1, 8, 8), levels=2, context_shape=10, **sizes)
        >>> label = torch.nn.functional.one_hot(torch.tensor([3, 7]), 10)
        >>> Autoregressive(net, context=label).sample().shape
        torch.Size([2, 1, 8, 8])
    """

    image_rows, image_padding = 4, 3  # the first kernel is 7x7

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None = 256,
        width: int = 128,
        depth: int = 12,
        kernel_size: int = 5,
        head_width: int = 1024,
        context_shape: int | Sequence[int] | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        super().__init__(shape, levels, context_shape, likelihood)
        name = type(self).__name__
        depth = check_size(name, "depth", depth, least=0, most=LARGEST_COUNT)
        kernel_size = check_kernel(name, "kernel_size", kernel_size)
        width = check_size(name, "width", width)
        head_width = check_size(name, "head_width", head_width)
        context_channels = self.context_channels()

        image = groups(self.channels, self.colours)
        stack = groups(width, self.colours)
        head = groups(head_width, self.colours)
        params = torch.arange(self.colours).repeat_interleave(self.likelihood.num_params)

        # Each layer makes channels for the stack and for the head, the last for the head alone.
        both = torch.cat((stack, head))
        outputs = [both] * depth + [head]
        self.first = GatedLayer(
            image,
            stack,
            outputs[0],
            7,
            context_channels,
            first=True,
        )
        layers = [
            GatedLayer(
                stack,
                stack,
                out,
                kernel_size,
                context_channels,
            )
            for out in outputs[1:]
        ]
        self.layers: Sequence[GatedLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.head = MaskedConv2d(head, head)
        self.last = MaskedConv2d(head, params)

    def theta(
        self,
        images: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        # x holds the channels of the horizontal stack h, then of the sum of skip connections.
        v, x = self.first(images, images, context)
        for layer in self.layers:
            h = x[:, : layer.horizontal.weight.shape[1]]
            v, out = layer(v, h, context)

            # h' = h + W_r gate(a_h); the last layer makes nothing for h, which ends there.
            x = x[:, -out.shape[1] :] + out

        theta: Tensor = self.last(self.head(x.relu()).relu())
        return theta

    def init_cache(
        self,
        cursor: Cursor,
        context: Tensor | None,
    ) -> GatedPixelCNNCache:
        return GatedPixelCNNCache.of(self, cursor, context)
