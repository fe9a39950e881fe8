"""NICE on vectors and on images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pyro_exact.flows.arguments import image_shape, vector_dim
from pyro_exact.flows.couplings import couplings
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.permute import Permute


def nice(
    shape: int | tuple[int],
    layers: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
) -> Bijection:
    r"""Build NICE for vectors, from data to noise.

    This flow has additive couplings, which preserve volume, and a diagonal scale, which is an
    `ActNorm`. See `image_nice` for images.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Coupling layers; the paper uses 4. At least 3 are required so that each dimension
            can depend on every dimension.
        hidden_dims: Widths of the hidden layers of each conditioner; the paper uses 5 of 1000 for
            MNIST.
        context_dim: Size of a context vector used by every conditioner.
        act_norm: If true (default), another `ActNorm` precedes the couplings, so that training
            does not depend on the units of the data; ``initialize`` should be called.
        shuffle: If true, the dimensions are permuted between two couplings; see `couplings`. The
            paper does not.

    Raises:
        ValueError: If this is not the shape of a vector, or ``layers`` is not positive.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE: Non-linear Independent Components Estimation,
        sections 3.2 and 3.3.

    Example:
        >>> flow = nice(3)
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
    """
    dim = vector_dim("nice", shape)
    additive = couplings(dim, Additive(), layers, hidden_dims, context_dim, False, shuffle)
    first = [ActNorm(dim)] if act_norm else []

    return Compose([*first, *additive.parts, ActNorm(dim)])


def image_nice(
    shape: tuple[int, int, int],
    levels: int = 256,
    layers: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
) -> Bijection:
    r"""Build NICE for images (C, H, W) in pixel levels, to a vector of noise.

    The image is scaled to [0, 1) and flattened. The halves that the couplings exchange are the even
    and the odd pixels, as in the paper. The couplings are those of `nice`.

    Args:
        shape: Shape (C, H, W) of the images.
        levels: Pixel levels.
        layers: Coupling layers; see `nice`.
        hidden_dims: Widths of the hidden layers of each conditioner; see `nice`.
        context_dim: Size of a context vector used by every conditioner.

    Raises:
        ValueError: If this is not the shape of an image, or ``layers`` or ``levels`` is not
            positive.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE: Non-linear Independent Components Estimation, section
        5.1.

    Example:
        >>> flow = image_nice((1, 8, 8), levels=17)
        >>> flow(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    image = image_shape("image_nice", shape, levels)
    dim = prod(image)
    even_first = [*range(0, dim, 2), *range(1, dim, 2)]
    vector = nice(dim, layers, hidden_dims, context_dim, act_norm=False, shuffle=False)

    return Compose([FixedAffine(1 / levels), Flatten(image), Permute(even_first), vector])
