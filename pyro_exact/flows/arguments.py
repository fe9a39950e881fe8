"""Checks of the arguments, which are used by all builders."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyro_exact.checks import LARGEST_COUNT, check_shape, check_size, check_sizes, shown
from pyro_exact.transforms.elementwise import Elementwise

# The bound of the log-scale in the affine layers of density estimators, in nats. Using a loose
# bound, the density of a rare row can explode: see the table of held-out likelihoods in
# docs/results.md.
LOG_SCALE_BOUND = 1.0

LARGEST_SCALES = 20  # no image has a side of more than 2 to this power pixels


def vector_dim(builder: str, shape: int | Sequence[int]) -> int:
    """Return the dimension of a vector, using the shape (n,) or the integer n.

    Raises:
        TypeError: If the type of the shape is neither an integer nor a sequence of integers.
        ValueError: If this is not the shape of a vector.
    """
    sizes = check_shape(builder, "shape", shape)

    if len(sizes) != 1:
        raise ValueError(
            f"{builder} expects a shape (dim,) of a vector; got {shape}. Use a builder of images, "
            f"such as glow or "
            f"image_real_nvp, or flatten the data."
        )
    return sizes[0]


def image_shape(builder: str, shape: Sequence[int], levels: int) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an image, after a check of ``levels`` as well.

    Raises:
        TypeError: If the shape is not a sequence of integers.
        ValueError: If this is not the shape of an image, or ``levels`` is not positive.
    """
    sizes = check_shape(builder, "shape", shape)

    if len(sizes) != 3:
        raise ValueError(
            f"{builder} expects a shape (C, H, W) of images; got {shape}. Use a builder of "
            f"vectors, such as maf or "
            f"couplings, or add the missing dimensions."
        )
    check_size(builder, "levels", levels)

    channels, height, width = sizes
    return channels, height, width


def check_scales(builder: str, shape: Sequence[int], scales: int) -> int:
    """Return the checked ``scales``.

    Raises:
        ValueError: If the sides of the image are not multiples of 2 to this power.
    """
    scales = check_size(builder, "scales", scales, most=LARGEST_SCALES)
    factor = 2**scales

    if shape[-2] % factor or shape[-1] % factor:
        common = math.gcd(shape[-2], shape[-1])
        most = (common & -common).bit_length() - 1  # the power of 2 in both sides
        advice = "Pad the images" if most == 0 else f"Use at most {most} scales, or pad the images"
        raise ValueError(
            f"{builder} expects height and width that are multiples of 2^scales = {factor}; got "
            f"scales {scales} and "
            f"shape {tuple(shape)}. {advice}."
        )
    return scales


def check_layers(builder: str, layers: int) -> int:
    """Return the checked ``layers`` of a flow.

    Raises:
        ValueError: If it is not positive, or too large.
    """
    return check_size(builder, "layers", layers, most=LARGEST_COUNT)


def check_context_dim(builder: str, context_dim: int | None) -> int | None:
    """Return the size of the context vector, or `None` for no context."""
    return None if context_dim is None else check_size(builder, "context_dim", context_dim)


def check_hidden_dims(builder: str, hidden_dims: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the widths of the hidden layers, or `None` to let the network choose."""
    return None if hidden_dims is None else check_sizes(builder, "hidden_dims", hidden_dims)


def check_elementwise(builder: str, elementwise: object) -> Elementwise:
    """Return the formula of the layers.

    Raises:
        TypeError: If this is not of type `Elementwise`, for example a class that was not called.
    """
    if not isinstance(elementwise, Elementwise):
        raise TypeError(
            f"{builder} expects elementwise as an Elementwise; got {shown(elementwise)}. Pass a "
            "formula, such as Affine()."
        )
    return elementwise
