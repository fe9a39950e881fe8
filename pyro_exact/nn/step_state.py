"""The state of a network that computes one step after the other."""

from __future__ import annotations

from typing import Any, NamedTuple


class StepState(NamedTuple):
    """What a network passes from one step to the next.

    ``member`` and ``done`` are plain integers, so that reading them never waits for a device. All
    that differs between two steps of the same phase must be a tensor in the cache: a CUDA graph
    records the integers of one step only.

    Attributes:
        member: Which member of an ensemble takes the steps; 0 for a single network.
        done: Steps that have been taken.
        cache: The tensors that the network keeps between steps. A step may write into them.
    """

    member: int
    done: int
    cache: Any

    def next(self, cache: Any) -> StepState:
        """Return the state after one more step."""
        return StepState(self.member, self.done + 1, cache)
