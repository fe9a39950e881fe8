"""RealNVP on vectors and on images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.flows.arguments import (
    check_context_dim,
    check_scales,
    check_unused,
    image_shape,
    vector_or_image_shape,
)
from pyro_exact.flows.couplings import couplings
from pyro_exact.nn.residual import ResidualConditioner
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.batch_norm import BatchNorm
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.factor_out import FactorOut
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.logit import Logit
from pyro_exact.transforms.partition import Channels, Checkerboard, Partition
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.squeeze import Squeeze


def real_nvp(
    shape: tuple[int] | tuple[int, int, int],
    length: int = 8,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    levels: int = 256,
    scales: int = 2,
    width: int = 64,
    blocks: int = 8,
    batch_norm: bool = False,
    logit_margin: float = 0.05,
) -> Bijection:
    r"""Build RealNVP, from data to noise: affine couplings that exchange the parts.

    On vectors they exchange the halves. On images (C, H, W) in pixel levels, to a vector of C H W
    numbers, see `image_real_nvp`.

    Args:
        shape: (dim,) of a vector, or (C, H, W) of an image.
        length: Of vectors: number of couplings.
        hidden_dims: Of vectors: widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector that every conditioner sees.
        act_norm: Of vectors: whether an `ActNorm` precedes each coupling, in place of the paper's
            batch normalisation; ``initialize`` sets it from data.
        levels: Of images: number of pixel levels.
        scales: Of images: number of scales.
        width: Of images: hidden channels of the conditioners of the first scale.
        blocks: Of images: residual blocks of each conditioner.
        batch_norm: Of images: whether the paper's `BatchNorm` precedes each coupling, in place of
            an `ActNorm`.
        logit_margin: Of images: see `Logit`.

    Raises:
        ValueError: If the shape is neither that of a vector nor that of an image with so many
            scales, the length is not positive, or an argument of the other kind of shape is given.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, sections 3.2 to
        3.7.

    Example:
        >>> flow = real_nvp((2,))
        >>> flow.initialize(5 + torch.randn(100, 2)).mean().abs() < 1e-5
        tensor(True)
        >>> real_nvp((1, 8, 8), levels=17, width=8, blocks=1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    vector_or_image_shape("real_nvp", shape)
    if len(shape) == 3:
        check_unused(real_nvp, shape, length=length, hidden_dims=hidden_dims, act_norm=act_norm)
        return image_real_nvp(
            shape, levels, scales, width, blocks, batch_norm, logit_margin, context_dim
        )
    check_unused(
        real_nvp,
        shape,
        levels=levels,
        scales=scales,
        width=width,
        blocks=blocks,
        batch_norm=batch_norm,
        logit_margin=logit_margin,
    )
    return couplings(shape, Affine(), length, hidden_dims, context_dim, act_norm)


def image_real_nvp(
    shape: tuple[int, int, int],
    levels: int = 256,
    scales: int = 2,
    width: int = 64,
    blocks: int = 8,
    batch_norm: bool = False,
    logit_margin: float = 0.05,
    context_dim: int | None = None,
) -> Bijection:
    r"""Build the RealNVP of images: `real_nvp` with the arguments that images have.

    Each scale has three couplings that split the image as a checkerboard, squeezes, has three that
    split channels, and factors out the positions of one colour of a checkerboard; the last scale
    has four with a checkerboard. Every squeeze doubles the hidden channels. The log-scales are a
    learned multiple
    of tanh.
    """
    shape = image_shape("real_nvp", shape, levels)
    scales = check_scales("real_nvp", shape, scales)
    context_dim = check_context_dim("real_nvp", context_dim)
    width = check_size("real_nvp", "width", width)
    blocks = check_size("real_nvp", "blocks", blocks, most=LARGEST_COUNT)

    def row(
        partition: Callable[[int, bool], Partition], channels: int, width: int, length: int
    ) -> list[Bijection]:
        layers: list[Bijection] = []
        for i in range(length):
            split = partition(channels, i % 2 == 1)
            sizes = split.fixed_size, split.free_size
            net = ResidualConditioner(*sizes, Affine.num_params, width, blocks, context_dim)
            norm = BatchNorm if batch_norm else ActNorm
            layers += [
                norm(channels, event_dim=3),
                Coupling(split, Affine("learned", shift_first=True), net),
            ]
        return layers

    def from_scale(index: int, shape: tuple[int, int, int]) -> Compose:
        channels, height, breadth = shape
        inner = width * 2**index
        if index == scales - 1:
            return Compose([*row(Checkerboard, channels, inner, 4), Flatten(shape)])
        squeezed = 4 * channels, height // 2, breadth // 2
        even_first = [4 * c + position for position in (0, 3, 1, 2) for c in range(channels)]
        rest = from_scale(index + 1, (2 * channels, *squeezed[1:]))
        return Compose(
            [
                *row(Checkerboard, channels, inner, 3),
                Squeeze(),
                *row(Channels, 4 * channels, 2 * inner, 3),
                Permute(even_first, event_dim=3),
                FactorOut(squeezed, rest),
            ]
        )

    return Compose([Logit(levels, logit_margin), *from_scale(0, shape).parts])
