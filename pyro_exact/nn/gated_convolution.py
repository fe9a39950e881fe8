"""The gated convolutional networks of the Sylvester paper: a VAE's encoder and decoder of images."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements, check_event, check_floating, check_size, check_sizes
from pyro_exact.nn.dense import scaled
from pyro_exact.nn.layout import channels_last
from pyro_exact.nn.precision import network_input, weight_of


class GatedConvEncoder(nn.Module):
    r"""Six gated convolutions from an image to features; two of them halve its sides, and the last one sees all of it.

    .. math:: h_{l+1} = (W_l * h_l) \odot \sigma(V_l * h_l)

    Args:
        shape: (C, H, W), with sides that 4 divides.
        features: Number of features; the paper has 256.
        width: Channels of the first convolutions; the later ones have twice as many.
        levels: Number of pixel levels; pixels are scaled to [-1, 1].

    Shape:
        - x: (\*batch, C, H, W); returns (\*batch, features).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is not positive; on another shape.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, section 6.1, and official code (`VAE.create_encoder`).
    """

    def __init__(
        self, shape: tuple[int, int, int], features: int = 256, width: int = 32, levels: int = 2
    ) -> None:
        super().__init__()
        name = "GatedConvEncoder"
        features, width = check_size(name, "features", features), check_size(name, "width", width)
        self.levels = check_size(name, "levels", levels, least=2)
        rest = quarter(shape)
        check_elements(name, 2 * width, 4 * width, 5, 5)
        check_elements(name, 2 * features, 2 * width, *rest)
        self.shape = tuple(map(int, shape))
        self.layers = nn.Sequential(
            *narrowing(shape[0], width), Gated(nn.Conv2d(2 * width, 2 * features, rest))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the images."""
        images = scaled(x, self.shape, self.levels, weight_of(self)).reshape(-1, *self.shape)
        features: Tensor = self.layers(channels_last(images))
        return features.reshape(*x.shape[:-3], -1)


class GatedConvDecoder(nn.Module):
    r"""The mirror image of `GatedConvEncoder`, of transposed convolutions, and a 1x1 convolution to the parameters.

    Args:
        dim: Dimension of the latent.
        shape: (C, H, W) of the grid of sites, with sides that 4 divides.
        num_params: Number of parameters of each site.
        width: Channels of the last convolutions; the earlier ones have twice as many.

    Shape:
        - z: (\*batch, dim); theta: (\*batch, C, H, W, num_params).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is not positive.

    Reference:
        As `GatedConvEncoder` (`VAE.create_decoder`).
    """

    def __init__(
        self, dim: int, shape: tuple[int, int, int], num_params: int = 1, width: int = 32
    ) -> None:
        super().__init__()
        name = "GatedConvDecoder"
        self.dim, width = check_size(name, "dim", dim), check_size(name, "width", width)
        self.num_params = num_params = check_size(name, "num_params", num_params)
        rest = quarter(shape)
        check_elements(name, 2 * width, 4 * width, 5, 5)
        check_elements(name, self.dim, 4 * width, *rest)
        self.shape = tuple(map(int, shape))
        self.layers = nn.Sequential(
            Gated(nn.ConvTranspose2d(dim, 4 * width, rest), places=1),
            *widening(2 * width, width),
            nn.Conv2d(width, shape[0] * num_params, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return the parameters of each site."""
        check_floating("GatedConvDecoder", "z", z)
        check_event("GatedConvDecoder", "z", z, (self.dim,))
        z = network_input("GatedConvDecoder", "z", z, weight_of(self))
        theta = self.layers(z.reshape(-1, z.shape[-1], 1, 1))
        by_number = theta.unflatten(1, (self.shape[0], self.num_params)).movedim(2, -1)
        return by_number.reshape(*z.shape[:-1], *self.shape, self.num_params)


class Gated(nn.Module):
    """A convolution of which one half of the channels gates the other; the layer itself makes twice as many.

    It starts so that a signal keeps its size. By default torch's layers would shrink it, and the
    gates halve it: behind six of them the mean of a posterior would vary by 0.0001 over the data.

    Args:
        layer: A convolution, or a transposed one.
        places: Places of the input that a place of the output sees; those of the kernel by default.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, places: int | None = None) -> None:
        super().__init__()
        self.layer = layer
        seen = layer.in_channels * (places or prod(layer.kernel_size))
        nn.init.normal_(
            layer.weight, std=(3 / seen) ** 0.5
        )  # 3 times the mean square of a gate is 1
        nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels as one half has."""
        return F.glu(self.layer(x), dim=1)


class Maps(nn.Sequential):
    r"""Layers of maps, one after the other, that take any batch: (\*batch, C, H, W) -> (\*batch, C', H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the last layer makes."""
        maps = channels_last(x.reshape(-1, *x.shape[-3:]))
        y: Tensor = super().forward(maps)
        return y.reshape(*x.shape[:-3], *y.shape[1:])


def narrowing(channels: int, width: int) -> list[Gated]:
    """Return the gated convolutions from so many channels to twice the width, on a quarter of the sides."""
    widths, strides = [channels, width, width, 2 * width, 2 * width, 2 * width], [1, 2, 1, 2, 1]
    return [
        Gated(nn.Conv2d(fan_in, 2 * fan_out, 5, stride, padding=2))
        for (fan_in, fan_out), stride in zip(pairwise(widths), strides, strict=True)
    ]


def widening(channels: int, width: int) -> list[Gated]:
    """Return the gated transposed convolutions from so many channels to the width, on four times the sides.

    Of stride 1 a transposed convolution is a convolution with its kernel turned round, and takes
    twice the time.
    """
    widths, strides = [channels, 2 * width, width, width, width, width], [1, 2, 1, 2, 1]
    return [
        Gated(nn.Conv2d(fan_in, 2 * fan_out, 5, padding=2))
        if stride == 1
        else Gated(
            nn.ConvTranspose2d(fan_in, 2 * fan_out, 5, stride, padding=2, output_padding=1),
            25 // stride**2,
        )
        for (fan_in, fan_out), stride in zip(pairwise(widths), strides, strict=True)
    ]


def quarter(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the sides of an image that was halved twice."""
    _, height, width = check_sizes(
        "A gated convolutional network", "the shape (C, H, W) of images", shape, length=3
    )
    if height % 4 or width % 4:
        raise ValueError(
            f"A gated convolutional network expects a shape (C, H, W) of images with height and width that 4 divides; "
            f"got {tuple(shape)}. Pad the images, or use the dense networks."
        )
    return height // 4, width // 4
