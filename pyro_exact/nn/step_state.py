"""The state of a network that is evaluated step by step."""

from __future__ import annotations

from typing import Any, NamedTuple


class StepState(NamedTuple):
    """The state that is passed from each step of a network to the next.

    ``member`` and ``done`` are plain integers, so that reading never waits for a device. A value
    that differs between two steps of the same phase must be a tensor in the cache, because a CUDA
    graph records the integers of a single step only.

    Attributes:
        member: Index of the member of an ensemble that is used; 0 for a single network.
        done: Count of steps that have been taken.
        cache: The tensors that the network keeps between steps. A step may write into them.
    """

    member: int
    done: int
    cache: Any

    def next(self, cache: Any) -> StepState:
        """Return the state after another step."""
        return StepState(self.member, self.done + 1, cache)
