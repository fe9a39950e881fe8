"""Checks of integers: sizes, counts, shapes and seeds."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import TypeGuard

LARGEST_SIZE = 2**24  # of a dimension: a larger one is a mistake, or an attack
LARGEST_WEIGHT = 2**33  # elements of a weight, 32 GiB in float32
LARGEST_COUNT = 10_000  # of layers, blocks and other repeated parts


def check_size(
    owner: str, name: str, size: object, least: int = 1, most: int = LARGEST_SIZE
) -> int:
    """Return a size as an integer; any integer type may be used, for example of NumPy.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        size: The value.
        least: The smallest size allowed.
        most: The largest size allowed; use `LARGEST_COUNT` for layers and other repeated parts.

    Raises:
        TypeError: If the type of the value is not an integer type.
        ValueError: If the value is too small or too large.
    """
    if isinstance(size, bool):
        raise _no_integer(owner, name, size)
    try:
        value = operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        raise _no_integer(owner, name, size) from None

    if not least <= value <= most:
        raise ValueError(
            f"{owner} expects {name} from {least} to {most}; got {value}. Choose a value in this "
            "range."
        )
    return value


def check_sizes(
    owner: str,
    name: str,
    sizes: object,
    least: int = 1,
    most: int = LARGEST_SIZE,
    length: int | None = None,
) -> tuple[int, ...]:
    """Return several sizes, such as a shape or the widths of hidden layers, as a tuple of integers.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        sizes: The value: a list, a tuple, a `torch.Size` or an array.
        least: The smallest size allowed.
        most: The largest size allowed.
        length: Required length of the sequence; the default allows any length.

    Raises:
        TypeError: If the value is not a sequence of integers.
        ValueError: If a size is out of range, or the length is wrong.
    """
    if isinstance(sizes, (str, bytes)) or not _is_sequence(sizes):
        raise TypeError(
            f"{owner} expects {name} as a sequence of integers; got {sizes!r}. Pass a tuple."
        )

    checked = tuple(check_size(owner, f"each of {name}", size, least, most) for size in sizes)
    if length is not None and len(checked) != length:
        raise ValueError(
            f"{owner} expects {length} sizes in {name}; got {checked}. Pass {length} sizes."
        )
    return checked


def check_shape(owner: str, name: str, shape: object) -> tuple[int, ...]:
    """Return the shape of an event as a tuple of positive integers; an integer n means (n,).

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        shape: The value.

    Raises:
        TypeError: If the value is neither an integer nor a sequence of integers.
        ValueError: If a size is out of range, the shape is empty, or there are too many elements.
    """
    sizes = check_sizes(owner, name, shape if _is_sequence(shape) else (shape,))
    if not sizes:
        raise ValueError(
            f"{owner} expects {name} of at least one size; got (). Use (1,) for a single element."
        )
    check_size(owner, f"the number of elements of {name}", math.prod(sizes))
    return sizes


def check_kernel(owner: str, name: str, size: object) -> int:
    """Return the side of a convolution kernel, which must be odd, so that it has a centre.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        size: The value.

    Raises:
        TypeError: If the type of the value is not an integer type.
        ValueError: If the value is even, or out of range.
    """
    side = check_size(owner, name, size, most=LARGEST_COUNT)
    if side % 2 == 0:
        raise ValueError(f"{owner} expects an odd {name}; got {side}. Use {side + 1}.")
    return side


def check_elements(owner: str, *sizes: int, most: int = LARGEST_WEIGHT) -> None:
    """Check that a weight with these sizes can be allocated.

    This check must be used in addition, because each size may be in range although the product is
    not.

    Args:
        owner: The function or class that has the weight.
        *sizes: The shape of the weight.
        most: The largest count of elements allowed.

    Raises:
        ValueError: If the weight has more elements.
    """
    elements = math.prod(sizes)
    if elements > most:
        shape = " x ".join(map(str, sizes))
        raise ValueError(
            f"{owner} expects a weight of at most {most} elements; got {shape} = {elements}. "
            f"Choose smaller sizes."
        )


def check_seed(owner: str, seed: object) -> int:
    """Return a seed as an integer of 64 bits.

    Args:
        owner: The function or class that has the argument.
        seed: The value.

    Raises:
        TypeError: If the type of the value is not an integer type.
        ValueError: If the value is out of range.
    """
    return check_size(owner, "seed", seed, least=-(2**63), most=2**63 - 1)


def _no_integer(owner: str, name: str, value: object) -> TypeError:
    return TypeError(f"{owner} expects {name} as an integer; got {value!r}. Pass a whole number.")


def _is_sequence(value: object) -> TypeGuard[Iterable[object]]:
    """Return whether a value has elements; an array of no dimensions has none."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) != 0
