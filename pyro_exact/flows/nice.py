"""NICE on vectors and on images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pyro_exact.flows.arguments import check_unused, image_shape, vector_dim, vector_or_image_shape
from pyro_exact.flows.couplings import couplings
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.scaling import Scaling


def nice(
    shape: tuple[int] | tuple[int, int, int],
    length: int = 4,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    levels: int = 256,
) -> Bijection:
    r"""Build NICE, from data to noise: additive couplings, which preserve volume, and a learned diagonal scale.

    The scale is an `ActNorm`, which has a shift as well. An image in pixel levels is scaled to [0,
    1) and read as a vector whose halves are the even and the odd pixels, as in the paper.

    Args:
        shape: (dim,) of a vector, or (C, H, W) of an image.
        length: Number of couplings; the paper has 4. Three let each dimension change as a function
            of all others.
        hidden_dims: Widths of the hidden layers of each conditioner; the paper has 5 of 1000 for
            MNIST.
        context_dim: Size of a context vector that every conditioner sees.
        levels: Of images: number of pixel levels.

    Raises:
        ValueError: If the shape is neither that of a vector nor that of an image, the length is not
            positive, or a vector is given levels.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE: Non-linear Independent Components Estimation,
        sections 3.2, 3.3 and 5.1.

    Example:
        >>> flow = nice((3,))
        >>> flow(torch.randn(5, 3)).shape
        torch.Size([5, 3])
        >>> nice((1, 8, 8), levels=17)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    vector_or_image_shape("nice", shape)
    if len(shape) == 3:
        image = image_shape("nice", shape, levels)
        dim = prod(image)
        even_first = [*range(0, dim, 2), *range(1, dim, 2)]
        vector = nice((dim,), length, hidden_dims, context_dim)
        return Compose([Scaling(1 / levels), Flatten(image), Permute(even_first), vector])
    check_unused(nice, shape, levels=levels)
    layers = couplings(shape, Additive(), length, hidden_dims, context_dim, act_norm=False)
    return Compose([*layers.parts, ActNorm(vector_dim("nice", shape))])
