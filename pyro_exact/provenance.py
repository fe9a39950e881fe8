"""What the records of runs and of benchmarks share."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch


def provenance(device: str | None = None) -> dict[str, str]:
    """Return where and when numbers come to be, for their record: hardware, version of torch, commit and date."""
    return {
        "hardware": hardware(device),
        "torch": str(torch.__version__),
        "commit": commit(),
        "date": today(),
    }


def today() -> str:
    """Return the date in UTC, as 2026-01-31."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def hardware(device: str | None = None, devices: int = 1) -> str:
    """Return the name of the accelerator, or the processor and how many of its threads are used.

    Args:
        device: ``"cuda"`` or ``"cpu"``; the first of them that there is by default.
        devices: How many of them.
    """
    cuda = torch.cuda.is_available() if device is None else device == "cuda"
    name = (
        torch.cuda.get_device_name()
        if cuda
        else f"{torch.get_num_threads()} CPU threads, {_processor()}"
    )
    return name if devices == 1 else f"{devices} x {name}"


def commit() -> str:
    """Return the commit of the checkout that this package is in, with ``-dirty`` after changes, or ``unknown``."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", __file__], cwd=here, capture_output=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() if tracked.returncode == 0 else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
