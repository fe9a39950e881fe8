"""Checks of real values."""

from __future__ import annotations

import math


def check_number(
    owner: str,
    name: str,
    number: object,
    least: float = -math.inf,
    most: float = math.inf,
    open_ends: bool = False,
) -> float:
    """Return a finite real value in a range.

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        number: The value, of a real type of Python or NumPy, or a tensor with a single element.
        least: The smallest allowed value.
        most: The largest allowed value.
        open_ends: If true, refuse the ends themselves.

    Raises:
        TypeError: If the type of the value is not real.
        ValueError: If the value is NaN or infinite, or out of range.
    """
    if isinstance(number, (bool, str)):
        raise _no_number(owner, name, number)
    try:
        value = float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise _no_number(owner, name, number) from None

    inside = least < value < most if open_ends else least <= value <= most
    if not (math.isfinite(value) and inside):
        raise ValueError(
            f"{owner} expects {name} as a finite number{_range(least, most, open_ends)}; got "
            f"{value}. Choose another value."
        )
    return value


def _no_number(owner: str, name: str, value: object) -> TypeError:
    return TypeError(f"{owner} expects {name} as a number; got {value!r}. Pass a float.")


def _range(least: float, most: float, open_ends: bool) -> str:
    """Return a range in words, for the end of a sentence."""
    ends = []
    if least > -math.inf:
        ends.append(f"{'above' if open_ends else 'at least'} {least:g}")
    if most < math.inf:
        ends.append(f"{'below' if open_ends else 'at most'} {most:g}")
    return f" that is {' and '.join(ends)}" if ends else ""


def check_share(owner: str, name: str, share: object) -> float:
    """Return the fraction of elements that are dropped, a value in [0, 1).

    Args:
        owner: The function or class that has the argument.
        name: The argument.
        share: The value.

    Raises:
        TypeError: If the type of the value is not real.
        ValueError: If the value is out of range.
    """
    value = check_number(owner, name, share)
    if not 0 <= value < 1:
        raise ValueError(
            f"{owner} expects {name} as a fraction in [0, 1); got {value}. Use 0 to drop nothing."
        )
    return value
