"""A version of `torch.compile` that does not change the rest of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.distributions import Distribution

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(
    function: Function,
    backend: str = "inductor",
    fullgraph: bool = False,
) -> Function:
    """Return the function compiled, with the checks of distributions as the user has set them.

    The first `torch.compile` of a process turns these checks off for every distribution.
    """
    checks = Distribution._validate_args
    try:
        made: Function = torch.compile(function, backend=backend, fullgraph=fullgraph)  # type: ignore[assignment]
        return made
    finally:
        Distribution.set_default_validate_args(checks)
