"""Helper functions that are used by layers with parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pyro_exact.checks import check_size
from pyro_exact.transforms.numerics import LARGEST_EVENT_DIM

if TYPE_CHECKING:
    from pyro_exact.transforms.bijection import Bijection


def check_conditioner(
    owner: str,
    conditioner: object,
    expected: type[nn.Module],
) -> None:
    """Check that the network of a layer is of the expected type."""
    if not isinstance(conditioner, expected):
        raise TypeError(
            f"{owner} expects a conditioner of type {expected.__name__}; got "
            f"{type(conditioner).__name__}. "
            f"Derive it from pyro_exact.nn.{expected.__name__}."
        )


def check_channels(
    owner: str,
    channels: int,
    event_dim: int,
) -> tuple[int, int]:
    """Return the channels and the event_dim of a layer, or raise an error."""
    channels = check_size(owner, "channels", channels)
    event_dim = check_size(owner, "event_dim", event_dim, most=LARGEST_EVENT_DIM)
    return channels, event_dim


def context_for(part: Bijection, context: Tensor | None) -> Tensor | None:
    """Return the context for a part of a container: a plain part gets none."""
    return None if part.context_shape is None else context


def common_context_shape(
    owner: str, shapes: Iterable[tuple[int, ...] | None]
) -> tuple[int, ...] | None:
    """Return the context shape that is required by the parts, `None` without a context."""
    found = set(shapes) - {None}
    if len(found) > 1:
        raise ValueError(
            f"{owner} expects one context shape; got {sorted(map(str, found))}. Use one for all "
            f"parts."
        )

    return found.pop() if found else None


def sum_event(ladj: Tensor, event_dim: int) -> Tensor:
    """Sum the log-derivatives of the elements of an event."""
    if event_dim == 1:
        return ladj.sum(-1)

    return ladj.sum(tuple(range(-event_dim, 0))) if event_dim else ladj
