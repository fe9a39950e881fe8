"""Settings of the process that hold while a run trains, and are put back after it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Warnings of Lightning that are not about the run, or that our own errors replace.
_IGNORED = (".*LeafSpec.* is deprecated", ".*sync_dist=True", "Encountered (NaN|inf)")


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
