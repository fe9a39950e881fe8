"""The origin of a record of a run or a benchmark: hardware, versions, commit and date."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch


def provenance(device: str | None = None) -> dict[str, str]:
    """Return the hardware, the version of torch, the commit and the date, for a record.

    Args:
        device: ``"cuda"`` or ``"cpu"``; by default CUDA if available.
    """
    return {
        "hardware": hardware(device),
        "torch": str(torch.__version__),
        "commit": commit(),
        "date": today(),
    }


def today() -> str:
    """Return the date in UTC, for example 2026-01-31."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def hardware(device: str | None = None, devices: int = 1) -> str:
    """Return the name of the accelerator, or of the processor with the threads in use.

    Args:
        device: ``"cuda"`` or ``"cpu"``; by default CUDA if available.
        devices: How many devices are used.
    """
    cuda = torch.cuda.is_available() if device is None else device == "cuda"
    if cuda:
        name = torch.cuda.get_device_name()
    else:
        threads = torch.get_num_threads()
        name = f"{threads} CPU thread{'s' if threads > 1 else ''}, {_processor()}"

    return name if devices == 1 else f"{devices} x {name}"


def commit() -> str:
    """Return the commit of the checkout that contains this package.

    This ends with ``-dirty`` if files have changed since, and is ``unknown`` outside of a checkout.
    """
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    tracked = ["git", "ls-files", "--error-unmatch", __file__]

    try:
        found = _output(describe)
        _output(tracked)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found


def _output(command: list[str]) -> str:
    """Return the output of a command; raise an error if it fails."""
    folder = Path(__file__).parent
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return result.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.split(":", 1)[1] for line in lines if line.startswith("model name"))
        return next(names).strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
