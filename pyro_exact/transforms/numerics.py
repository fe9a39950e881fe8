"""Helper functions that are used by many layers to keep the elements finite."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.distributions import constraints

LARGEST_MATRIX = 8192  # rows of a square matrix that a layer learns
LARGEST_EVENT_DIM = 8

# e^64 is 6e27: the product with any value up to 5e10 is finite in float32.
LARGEST_LOG_SCALE = 64.0


def at_least_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in a common type, which is at least float32.

    In half precision a bin of a spline has no width, and a sum of log-determinants three digits.
    """
    kinds = {tensor.dtype for tensor in tensors}
    if len(kinds) == 1 and kinds <= {torch.float32, torch.float64}:
        return tensors

    dtype = reduce(torch.promote_types, kinds, torch.float32)

    return tuple(tensor.to(dtype) for tensor in tensors)


def limited(log_scale: Tensor) -> Tensor:
    r"""Return a log-scale cut to :math:`[-64, 64]`, where the scale and the inverse are finite."""
    return log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)


def of_event(constraint: constraints.Constraint, event_dim: int) -> constraints.Constraint:
    """Return the constraint of an event whose elements must all satisfy a constraint."""
    return constraints.independent(constraint, event_dim) if event_dim else constraint
