"""RealNVP on vectors and on images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.flows.arguments import (
    LOG_SCALE_BOUND,
    check_context_dim,
    check_scales,
    image_shape,
    vector_dim,
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
    shape: int | tuple[int],
    layers: int = 8,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
) -> Bijection:
    r"""Build RealNVP for vectors, from data to noise: affine couplings that exchange the halves.

    Both directions of this flow take a single pass. See `image_real_nvp` for images.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Coupling layers.
        hidden_dims: Widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector used by every conditioner.
        act_norm: If true (default), an `ActNorm` precedes each coupling and follows the last,
            instead of the batch normalisation of the paper; ``initialize`` should be called to set
            these.
        shuffle: If true, the dimensions are permuted between two couplings; see
            `couplings`. The paper does not.

    Raises:
        ValueError: If this is not the shape of a vector, or ``layers`` is not positive.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, sections 3.2 to
        3.7.

    Example:
        >>> flow = real_nvp(2)
        >>> flow.initialize(5 + torch.randn(100, 2)).mean().abs() < 1e-5
        tensor(True)
    """
    dim = vector_dim("real_nvp", shape)
    formula = Affine(bound=LOG_SCALE_BOUND)

    return couplings(dim, formula, layers, hidden_dims, context_dim, act_norm, shuffle)


def image_real_nvp(
    shape: tuple[int, int, int],
    levels: int = 256,
    scales: int = 2,
    width: int = 64,
    depth: int = 8,
    batch_norm: bool = False,
    logit_margin: float = 0.05,
    context_dim: int | None = None,
) -> Bijection:
    r"""Build RealNVP for images (C, H, W) in pixel levels, to a vector of noise.

    Each scale has three couplings with a `Checkerboard`, a `Squeeze`, and three couplings that
    split the channels. Then the positions of a colour of a checkerboard are factored out. The last
    scale has four couplings with a checkerboard. Every squeeze doubles the width of the
    conditioners. The log-scales are a learned multiple of tanh.

    Args:
        shape: Shape (C, H, W) of the images; H and W are multiples of 2 to the power of ``scales``.
        levels: Pixel levels.
        scales: Scales of the flow.
        width: Hidden channels of the conditioners in the first scale.
        depth: Residual blocks of each conditioner.
        batch_norm: If true, the `BatchNorm` of the paper is used before each coupling, instead of
            an `ActNorm`.
        logit_margin: See `Logit`.
        context_dim: Size of a context vector used by every conditioner.

    Raises:
        ValueError: If this is not the shape of an image, or does not allow this many scales.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, sections 3.2 to
        3.7.

    Example:
        >>> flow = image_real_nvp((1, 8, 8), levels=17, width=8, depth=1)
        >>> flow(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    shape = image_shape("image_real_nvp", shape, levels)
    scales = check_scales("image_real_nvp", shape, scales)
    width = check_size("image_real_nvp", "width", width)
    depth = check_size("image_real_nvp", "depth", depth, most=LARGEST_COUNT)
    context_dim = check_context_dim("image_real_nvp", context_dim)

    def step(split: Partition, width: int) -> list[Bijection]:
        net = ResidualConditioner(
            split.fixed_size, split.free_size, Affine.num_params, width, depth, context_dim
        )
        channels = split.size
        norm = BatchNorm(channels, 3) if batch_norm else ActNorm(channels, 3)
        return [norm, Coupling(split, Affine("learned", shift_first=True), net)]

    def row(
        partition: Callable[[int, bool], Partition], channels: int, width: int, layers: int
    ) -> list[Bijection]:
        splits = [partition(channels, i % 2 == 1) for i in range(layers)]
        return [part for split in splits for part in step(split, width)]

    def from_scale(index: int, shape: tuple[int, int, int]) -> Compose:
        channels, height, breadth = shape
        inner = width * 2**index
        if index == scales - 1:
            return Compose([*row(Checkerboard, channels, inner, 4), Flatten(shape)])

        squeezed = 4 * channels, height // 2, breadth // 2
        rest = from_scale(index + 1, (2 * channels, *squeezed[1:]))

        return Compose(
            [
                *row(Checkerboard, channels, inner, 3),
                Squeeze(),
                *row(Channels, 4 * channels, 2 * inner, 3),
                _even_positions_first(channels),
                FactorOut(squeezed, rest),
            ]
        )

    return Compose([Logit(levels, logit_margin), *from_scale(0, shape).parts])


def _even_positions_first(channels: int) -> Permute:
    """Reorder squeezed channels: first the positions of one colour of a checkerboard."""
    order = [4 * c + position for position in (0, 3, 1, 2) for c in range(channels)]
    return Permute(order, event_dim=3)
