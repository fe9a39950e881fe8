"""Checks of the arguments that builders share."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

from pyro_exact.checks import LARGEST_COUNT, check_size, check_sizes, shown
from pyro_exact.transforms.elementwise import Elementwise

LARGEST_SCALES = 20  # 2 to this power is more than any image has of pixels in a row


def vector_or_image_shape(builder: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a vector or of an image, or say that it is neither."""
    sizes = _sizes(shape)
    if len(sizes) not in (1, 3):
        raise ValueError(
            f"{builder} expects a shape (dim,) of a vector or (C, H, W) of an image; got {shape}. Pass a tuple of "
            f"positive integers, such as (2,) or (3, 32, 32)."
        )
    return sizes


def vector_dim(builder: str, shape: Sequence[int]) -> int:
    """Return the dimension of a vector of that shape, or say that it is none."""
    sizes = _sizes(shape)
    if len(sizes) != 1:
        raise ValueError(
            f"{builder} expects a shape (dim,) of a vector; got {shape}. For images, see glow."
        )
    return sizes[0]


def image_shape(builder: str, shape: Sequence[int], levels: int) -> tuple[int, int, int]:
    """Return the shape of an image, or say that it is none, or that pixels have no levels."""
    sizes = _sizes(shape)
    if len(sizes) != 3:
        raise ValueError(
            f"{builder} expects a shape (C, H, W) of images; got {shape}. For vectors, see couplings."
        )
    check_size(builder, "levels", levels)
    channels, height, width = sizes
    return channels, height, width


def check_scales(builder: str, shape: Sequence[int], scales: int) -> int:
    """Return the number of scales, or say that an image of that shape does not have so many."""
    scales = check_size(builder, "scales", scales, most=LARGEST_SCALES)
    factor = 2**scales
    if shape[-2] % factor or shape[-1] % factor:
        common = math.gcd(shape[-2], shape[-1])
        most = (common & -common).bit_length() - 1  # the powers of 2 in both
        advice = "Pad the images" if most == 0 else f"Use at most {most} scales, or pad the images"
        raise ValueError(
            f"{builder} expects height and width that are multiples of 2^scales = {factor}; got scales {scales} and "
            f"shape {tuple(shape)}. {advice}."
        )
    return scales


def check_length(length: int) -> int:
    """Return the number of layers of a flow, or say that there are none, or too many."""
    return check_size("A flow", "length", length, most=LARGEST_COUNT)


def check_context_dim(builder: str, context_dim: int | None) -> int | None:
    """Return the size of a context, or `None` for none."""
    return None if context_dim is None else check_size(builder, "context_dim", context_dim)


def check_elementwise(builder: str, elementwise: object) -> Elementwise:
    """Return a formula, or say that it is none: a class that was not called, for example."""
    if not isinstance(elementwise, Elementwise):
        raise TypeError(
            f"{builder} expects elementwise as an Elementwise; got {shown(elementwise)}. Pass one, such as Affine()."
        )
    return elementwise


def check_unused(builder: Callable[..., object], shape: Sequence[int], **arguments: object) -> None:
    """Say so if an argument that a builder does not use for this kind of shape differs from its default."""
    parameters = inspect.signature(builder).parameters
    given = [name for name, value in arguments.items() if value != parameters[name].default]
    if given:
        other = "vectors" if len(shape) == 3 else "images"
        raise ValueError(
            f"{builder.__name__} expects no arguments of {other} for shape {tuple(shape)}; got {', '.join(given)}. "
            f"Leave them out."
        )


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape as integers, and an empty one for whatever is no shape."""
    try:
        return check_sizes("A flow", "shape", shape)
    except (TypeError, ValueError):
        return ()
