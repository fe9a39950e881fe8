"""The device of a run, the rank of this process, and settings that hold while a run trains."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

# Time of computing does not depend on other programs on the machine. But it stands still while the
# process waits for a GPU, so there the wall clock is used.
CLOCKS = {"computing": time.thread_time, "wall": time.perf_counter}

# Warnings of Lightning that are not about the run, or that our own errors replace.
_IGNORED = (".*LeafSpec.* is deprecated", ".*sync_dist=True", "Encountered (NaN|inf)")


def pick_device(name: str) -> str:
    """Return ``"cpu"``, ``"cuda"`` or ``"mps"``; for ``"auto"``, ``"cuda"`` if there is one.

    Raises:
        ValueError: If it is another name, or there is no such device.
    """
    if name not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(
            f"device expects auto, cpu, cuda or mps; got {name!r}. Choose one of them."
        )

    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device is mps, but torch sees no Apple GPU here. Use cpu or auto.")
    if name in ("cpu", "mps"):
        return name

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device is cuda, but torch sees no CUDA device here. Use cpu or auto.")
    return "cuda" if available else "cpu"


def first_process() -> bool:
    """Return whether this process should report: one process, or rank 0 of several."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    return distributed.get_rank() == 0


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Multiply matrices of float32 with the given precision in a with-block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide the messages of Lightning about itself in a with-block; warnings about the run pass."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _IGNORED:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
