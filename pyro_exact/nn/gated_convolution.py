"""Gated convolutional networks of a VAE of images: an encoder and a decoder."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import (
    check_elements,
    check_event,
    check_floating,
    check_size,
    check_sizes,
)
from pyro_exact.nn.dense import scaled
from pyro_exact.nn.layout import channels_last
from pyro_exact.nn.precision import network_input, weight_of

KERNEL_SIZE = 5
STRIDES = 1, 2, 1, 2, 1


class GatedConvEncoder(nn.Module):
    r"""Six gated convolutions from an image to features.

    Use it as the encoder of a `VAE` of images.

    .. math:: h_{l+1} = (W_l * h_l) \odot \sigma(V_l * h_l)

    Two of the convolutions halve the sides, and the last kernel covers the whole map.

    Args:
        shape: (C, H, W); the sides must be multiples of 4.
        features: Size of the features (default 256, as in the paper).
        width: Channels of the first convolutions; the later ones have twice as many.
        levels: Values that an element can take. The levels are scaled to [-1, 1].

    Shape:
        - x: (\*batch, C, H, W); returns (\*batch, features).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is not positive; on images of another
            shape.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, section 6.1, and official code (`VAE.create_encoder`).

    Example:
        >>> GatedConvEncoder((1, 8, 8), features=16, width=4)(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int = 256,
        width: int = 32,
        levels: int = 2,
    ) -> None:
        super().__init__()
        name = "GatedConvEncoder"
        features = check_size(name, "features", features)
        width = check_size(name, "width", width)
        self.levels = check_size(name, "levels", levels, least=2)

        map_size = quarter_size(shape)
        check_elements(name, 2 * width, 4 * width, KERNEL_SIZE, KERNEL_SIZE)
        check_elements(name, 2 * features, 2 * width, *map_size)

        self.shape = tuple(map(int, shape))
        self.layers = nn.Sequential(
            *downsampling(shape[0], width),
            GatedConv2d(nn.Conv2d(2 * width, 2 * features, map_size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the images."""
        images = scaled(x, self.shape, self.levels, weight_of(self)).reshape(-1, *self.shape)
        features: Tensor = self.layers(channels_last(images))
        return features.reshape(*x.shape[:-3], -1)


class GatedConvDecoder(nn.Module):
    r"""The mirror image of `GatedConvEncoder`, from a latent to the parameters of each site.

    Use it as the decoder of a `VAE` of images. It has transposed gated convolutions, and ends with
    a 1x1 convolution.

    Args:
        latent_dim: Dimension of the latent.
        shape: (C, H, W) of the grid of sites; the sides must be multiples of 4.
        num_params: Parameters of each site.
        width: Channels of the last convolutions; the earlier ones have twice as many.

    Shape:
        - z: (\*batch, latent_dim); theta: (\*batch, C, H, W, num_params).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is not positive.

    Reference:
        As `GatedConvEncoder` (`VAE.create_decoder`).

    Example:
        >>> GatedConvDecoder(2, (1, 8, 8), width=4)(torch.randn(5, 2)).shape
        torch.Size([5, 1, 8, 8, 1])
    """

    def __init__(
        self,
        latent_dim: int,
        shape: tuple[int, int, int],
        num_params: int = 1,
        width: int = 32,
    ) -> None:
        super().__init__()
        name = "GatedConvDecoder"
        self.latent_dim = check_size(name, "latent_dim", latent_dim)
        self.num_params = check_size(name, "num_params", num_params)
        width = check_size(name, "width", width)

        map_size = quarter_size(shape)
        check_elements(name, 2 * width, 4 * width, KERNEL_SIZE, KERNEL_SIZE)
        check_elements(name, self.latent_dim, 4 * width, *map_size)

        self.shape = tuple(map(int, shape))
        self.layers = nn.Sequential(
            GatedConv2d(
                nn.ConvTranspose2d(latent_dim, 4 * width, map_size),
                inputs_per_output=1,
            ),
            *upsampling(2 * width, width),
            nn.Conv2d(width, shape[0] * num_params, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return the parameters of each site."""
        check_floating("GatedConvDecoder", "z", z)
        check_event("GatedConvDecoder", "z", z, (self.latent_dim,))
        z = network_input("GatedConvDecoder", "z", z, weight_of(self))

        maps = self.layers(z.reshape(-1, self.latent_dim, 1, 1))
        theta = maps.unflatten(1, (self.shape[0], self.num_params)).movedim(2, -1)

        return theta.reshape(*z.shape[:-1], *self.shape, self.num_params)


class GatedConv2d(nn.Module):
    r"""A convolution with gates: the output is multiplied by a sigmoid of other channels.

    It is used by `GatedConvEncoder` and `GatedConvDecoder`.

    .. math:: y = (W * x) \odot \sigma(V * x)

    The weights start such that the mean square of the output is that of the input. When using the
    default weights of torch, a signal would shrink in every layer, and the posterior of a new VAE
    would hardly depend on the data.

    Args:
        layer: A convolution, or a transposed convolution, to twice as many channels as the output.
        inputs_per_output: Optional count of positions of the input that contribute to a position of
            the output; by default all positions of the kernel.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.ConvTranspose2d,
        inputs_per_output: int | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer

        # The mean square of sigma(a) is about 1/3 for the activations a of such a layer.
        fan_in = layer.in_channels * (inputs_per_output or prod(layer.kernel_size))
        nn.init.normal_(layer.weight, std=(3 / fan_in) ** 0.5)
        nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated output, with half of the channels of the layer."""
        return F.glu(self.layer(x), dim=1)


class BatchedSequential(nn.Sequential):
    r"""A sequence of layers of maps (\*batch, C, H, W) that takes any batch shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        maps = channels_last(x.reshape(-1, *x.shape[-3:]))
        y: Tensor = super().forward(maps)
        return y.reshape(*x.shape[:-3], *y.shape[1:])


def downsampling(channels: int, width: int) -> list[GatedConv2d]:
    """Return gated convolutions to ``2 * width`` channels, which halve the sides twice."""
    widths = [channels, width, width, 2 * width, 2 * width, 2 * width]

    return [
        GatedConv2d(nn.Conv2d(inputs, 2 * outputs, KERNEL_SIZE, stride, padding=2))
        for (inputs, outputs), stride in zip(pairwise(widths), STRIDES, strict=True)
    ]


def upsampling(channels: int, width: int) -> list[GatedConv2d]:
    """Return gated convolutions to ``width`` channels, which double the sides twice."""
    widths = [channels, 2 * width, width, width, width, width]

    return [
        _same_size(inputs, outputs) if stride == 1 else _doubling(inputs, outputs)
        for (inputs, outputs), stride in zip(pairwise(widths), STRIDES, strict=True)
    ]


def quarter_size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of an image after two halvings.

    Raises:
        ValueError: If 4 does not divide the sides.
    """
    _, height, width = check_sizes(
        "A gated convolutional network",
        "the shape (C, H, W) of images",
        shape,
        length=3,
    )
    if height % 4 or width % 4:
        raise ValueError(
            "A gated convolutional network expects a shape (C, H, W) of images with a height and "
            f"a width that are multiples of 4; got {tuple(shape)}. Pad the images, or use the "
            "dense networks."
        )

    return height // 4, width // 4


def _same_size(inputs: int, outputs: int) -> GatedConv2d:
    """Return a gated convolution of stride 1."""
    # A transposed convolution of stride 1 is the same with a flipped kernel, and slower.
    return GatedConv2d(nn.Conv2d(inputs, 2 * outputs, KERNEL_SIZE, padding=2))


def _doubling(inputs: int, outputs: int) -> GatedConv2d:
    """Return a gated transposed convolution of stride 2."""
    layer = nn.ConvTranspose2d(inputs, 2 * outputs, KERNEL_SIZE, 2, padding=2, output_padding=1)
    return GatedConv2d(layer, inputs_per_output=KERNEL_SIZE**2 // 4)
