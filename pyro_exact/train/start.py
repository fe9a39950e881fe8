"""Checks before a run: a new run needs an empty folder, a resumed run its checkpoint."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from pyro_exact.train.checkpoint import BEST, KEY, read_checkpoint
from pyro_exact.train.run_record import RunRecord

_BUDGET = ("steps", "minutes", "validate_every", "validate_on")


def check_start(run: RunRecord, last: Path, resume: bool) -> None:
    """Raise an error if a run cannot start, or cannot continue from a checkpoint.

    Args:
        run: The record of the run.
        last: Path of the last checkpoint.
        resume: If true, the run should continue from this checkpoint. Budgets may differ;
            everything else must agree.

    Raises:
        FileNotFoundError: If there is no checkpoint to continue from.
        ValueError: If a new run would overwrite another run, or the checkpoint belongs to another
            run; the differences are named.
    """
    if resume:
        _check_same_run(run, last)
        return

    best = last.with_name(BEST)
    if os.path.exists(last):
        raise ValueError(
            f"{last} exists. Continue from it with resume=True (--resume), or choose another "
            f"folder (--out)."
        )
    if os.path.exists(best):
        raise ValueError(
            f"{best} exists, of a run whose last state is gone. Choose another folder (--out)."
        )


def _check_same_run(run: RunRecord, last: Path) -> None:
    earlier = RunRecord.from_dict(read_checkpoint(last)[KEY], str(last))
    found, wanted = _identity(earlier), _identity(run)
    differences = [
        f"{key} ({found.get(key)!r} there, {wanted.get(key)!r} here)"
        for key in sorted({*found, *wanted})
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError(
            f"{last} is the checkpoint of another run, whose settings differ: "
            f"{', '.join(differences)}. Resume with the same recipe, data and seed, or "
            f"choose another folder (--out)."
        )


def _identity(run: RunRecord) -> dict[str, Any]:
    """Return the settings that must agree when a run continues another run."""
    training = dataclasses.asdict(run.recipe.training)
    for setting in _BUDGET:
        del training[setting]

    settings = {f"model.{name}": value for name, value in run.recipe.model.items()}
    settings |= {f"training.{name}": value for name, value in training.items()}
    return {"data": run.data, "levels": run.levels, "seed": run.seed, **settings}
