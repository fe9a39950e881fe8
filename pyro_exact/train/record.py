"""The record of a run, which the run itself writes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from pyro_exact.recipes import Recipe


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write a JSON file in one piece: to a file beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(values, indent=2) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def hardware() -> str:
    """Return the accelerator, or the number of CPU threads and the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads, {_processor()}"


def commit() -> str:
    """Return the commit of the checkout that this package is in, with ``-dirty`` after changes, or ``unknown``."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        tracked = subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() if tracked.returncode == 0 else "unknown"


def run_record(
    recipe: Recipe,
    seed: int,
    data: dict[str, Any],
    steps: int,
    wall_seconds: float,
    parameters: int,
    metric: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a run, as `docs/results` keeps them.

    Args:
        recipe: What was trained.
        seed: Of the run.
        data: ``name``, ``split`` and ``images``, the number of images scored.
        steps: Optimiser steps taken.
        wall_seconds: Training time, without the final evaluation.
        parameters: Number of trained numbers.
        metric: ``value``, ``standard_error``, ``unit``, ``bound`` and ``k``.
    """
    values = recipe.to_dict()
    return {
        "recipe": recipe.name,
        "model": values["model"],
        "training": values["training"],
        "paper": values["paper"],
        "commit": commit(),
        "seed": seed,
        "data": data,
        "hardware": hardware(),
        "torch": torch.__version__,
        "steps": steps,
        "wall_seconds": round(wall_seconds, 1),
        "parameters": parameters,
        "metric": metric,
        "ema": recipe.training.ema_decay is not None,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
