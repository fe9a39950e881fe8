"""Batch shapes of distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.distributions import Distribution

from pyro_exact.checks import check_sizes

Shape = torch.Size | list[int] | tuple[int, ...]


def checked_shape(owner: str, shape: Any) -> torch.Size:
    """Return a sample shape or a batch shape, or raise an error."""
    return torch.Size(check_sizes(owner, "a shape", shape, least=0))


def expanded(owner: str, batch: Sequence[int], shape: Any) -> torch.Size:
    """Return the batch shape to which a distribution is expanded, which repeats it and changes no size but 1.

    Args:
        owner: The class of the distribution.
        batch: Its batch shape.
        shape: What it shall be.

    Raises:
        TypeError: If that is no sequence of integers.
        ValueError: If it is no shape that the batch could be repeated to.
    """
    new = checked_shape(f"{owner}.expand", shape)
    kept = new[max(0, len(new) - len(batch)) :]
    if len(kept) < len(batch) or any(
        size not in (1, other) for size, other in zip(batch, kept, strict=True)
    ):
        raise ValueError(
            f"{owner}.expand expects a shape to which the batch shape {tuple(batch)} broadcasts; got {tuple(new)}. "
            f"Only dimensions of size 1, and new ones on the left, can grow."
        )
    return new


def shapes_of(distribution: Distribution, of: str = "") -> str:
    """Return the `repr` of a distribution: its class, what it is the distribution of, and its shapes."""
    parts = [of] if of else []
    parts += [
        f"batch_shape={tuple(distribution.batch_shape)}",
        f"event_shape={tuple(distribution.event_shape)}",
    ]
    return f"{type(distribution).__name__}({', '.join(parts)})"
