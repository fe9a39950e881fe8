"""The device of a model, and the rank of this process."""

from __future__ import annotations

import time

import torch
from torch import distributed

# Time of computing does not depend on other programs on the machine. But it stands still while the
# process waits for a GPU, so there the wall clock is used.
CLOCKS = {"computing": time.thread_time, "wall": time.perf_counter}


def pick_device(name: str) -> str:
    """Return ``"cpu"`` or ``"cuda"``; for ``"auto"``, ``"cuda"`` if there is a CUDA device.

    Raises:
        ValueError: If it is another name, or there is no such device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device expects auto, cpu or cuda; got {name!r}. Choose one of them.")

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device is cuda, but torch sees no CUDA device here. Use cpu or auto.")
    return "cuda" if available and name != "cpu" else "cpu"


def first_process() -> bool:
    """Return whether this process should report: one process, or rank 0 of several."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    return distributed.get_rank() == 0
