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
    """Return the batch shape of a distribution that is expanded, where only sizes of 1 may change.

    Args:
        owner: The class of the distribution.
        batch: Batch shape of the distribution.
        shape: The required batch shape.

    Raises:
        TypeError: If ``shape`` is not a sequence of integers.
        ValueError: If the batch cannot be expanded to ``shape``.
    """
    new = checked_shape(f"{owner}.expand", shape)
    kept = new[max(0, len(new) - len(batch)) :]

    if len(kept) < len(batch) or any(
        size not in (1, other) for size, other in zip(batch, kept, strict=True)
    ):
        raise ValueError(
            f"{owner}.expand expects a shape to which the batch shape {tuple(batch)} broadcasts; "
            f"got {tuple(new)}. Only dimensions of size 1, and new dimensions on the left, can be "
            "expanded."
        )

    return new


def shapes_of(distribution: Distribution, of: str = "") -> str:
    """Return the `repr` of a distribution: the class, the parts, and the shapes."""
    parts = [of] if of else []
    parts += [
        f"batch_shape={tuple(distribution.batch_shape)}",
        f"event_shape={tuple(distribution.event_shape)}",
    ]

    return f"{type(distribution).__name__}({', '.join(parts)})"
