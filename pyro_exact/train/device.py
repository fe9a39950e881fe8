"""Where a model runs, and which process of several this is."""

from __future__ import annotations

import time

import torch
from torch import distributed

# The time that the training thread computes does not depend on who else computes; but it stands
# still behind a GPU.
CLOCKS = {"computing": time.thread_time, "wall": time.perf_counter}


def pick_device(name: str) -> str:
    """Return ``"cpu"`` or ``"cuda"``: what is named, or for ``"auto"`` the better one that there is.

    Raises:
        ValueError: If it is another name, or there is no such device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device expects auto, cpu or cuda; got {name!r}. Choose one of them.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no CUDA device here. Use cpu or auto.")
    return "cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda"


def first_process() -> bool:
    """Return whether this process is the only one, or the one of several that reports."""
    return (
        not (distributed.is_available() and distributed.is_initialized())
        or distributed.get_rank() == 0
    )
