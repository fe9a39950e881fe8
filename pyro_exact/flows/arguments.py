"""What the builders refuse."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence


def check_shape(builder: str, shape: Sequence[int]) -> None:
    """Say so if a shape is neither that of a vector nor that of an image."""
    if not (_has_sizes(shape, 1) or _has_sizes(shape, 3)):
        raise ValueError(
            f"{builder} expects a shape (dim,) of a vector or (C, H, W) of an image; got {shape}. Pass a tuple of "
            f"positive integers, such as (2,) or (3, 32, 32)."
        )


def vector_dim(builder: str, shape: Sequence[int]) -> int:
    """Return the dimension of a vector of that shape, or say that it is none."""
    if not _has_sizes(shape, 1):
        raise ValueError(f"{builder} expects a shape (dim,) of a vector; got {shape}. For images, see glow.")
    return shape[0]


def image_shape(builder: str, shape: Sequence[int], levels: int) -> tuple[int, int, int]:
    """Return the shape of an image, or say that it is none, or that pixels have no levels."""
    if not _has_sizes(shape, 3) or levels < 1:
        raise ValueError(
            f"{builder} expects a shape (C, H, W) of images and at least one level; got {shape} and {levels} levels. "
            f"For vectors, see couplings."
        )
    channels, height, width = shape
    return channels, height, width


def check_length(length: int) -> None:
    """Say so if a flow has no layers."""
    if length < 1:
        raise ValueError(f"A flow expects a length of at least 1; got {length}. Leave it out instead.")


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


def _has_sizes(shape: Sequence[int], count: int) -> bool:
    return isinstance(shape, Sequence) and len(shape) == count and all(isinstance(n, int) and n > 0 for n in shape)
