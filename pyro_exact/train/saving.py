"""The files of a run: checks before the start, and the last and the best checkpoint."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

from pyro_exact.files import atomic_write
from pyro_exact.models import GenerativeModel
from pyro_exact.train.checkpoint import BEST, KEY, LAST, check_fit, read_checkpoint, read_weights
from pyro_exact.train.run_record import RunRecord

_BUDGET = (
    "steps",
    "minutes",
    "validate_every",
    "validate_on",
    "patience",
    "checkpoint_minutes",
    "sample_every",
)


def check_start(run: RunRecord, model: GenerativeModel, last: Path, resume: bool) -> None:
    """Raise an error if a run cannot start, or cannot continue from a checkpoint.

    Args:
        run: The record of the run.
        model: The model to train.
        last: Path of the last checkpoint.
        resume: If true, the run should continue from this checkpoint. Budgets may differ;
            everything else must agree.

    Raises:
        FileNotFoundError: If there is no checkpoint to continue from.
        ValueError: If a new run would overwrite another run, or the checkpoint belongs to another
            run; the differences are named.
    """
    if resume:
        _check_same_run(run, model, last)
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


def _check_same_run(run: RunRecord, model: GenerativeModel, last: Path) -> None:
    earlier, weights = read_weights(last)
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
    check_fit(model, weights, f"The weights in {last}")


def _identity(run: RunRecord) -> dict[str, Any]:
    """Return the settings that must agree when a run continues another run."""
    training = dataclasses.asdict(run.training)
    for setting in _BUDGET:
        del training[setting]

    settings = {f"model.{name}": value for name, value in (run.model or {"name": run.name}).items()}
    settings |= {f"training.{name}": value for name, value in training.items()}
    settings |= {"data": run.data, "levels": run.levels, "seed": run.seed}
    return {**settings, "init_from": run.init_from}


class Checkpoints(Callback):
    """Save the state after each validation and at the end; keep the best state in a second file.

    The last state is written first. If a run is killed between the two writes, the last state may
    be better than the best state. When the run is resumed, the last state is copied, so that
    best.ckpt is the same as after an uninterrupted run.

    Args:
        folder: Folder of the two files, ``checkpoint.ckpt`` and ``best.ckpt``.
        minutes: Optional training time after which the last state is saved again.
    """

    def __init__(self, folder: Path, minutes: float | None = None) -> None:
        self.last, self.best = folder / LAST, folder / BEST
        self.seconds = math.inf if minutes is None else 60 * minutes
        self._saved_at = 0.0  # training time of the last checkpoint
        self._saved: int | None = None  # step of the last checkpoint
        self._lowest = math.inf  # validation loss of the best checkpoint

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        run: RunRecord = pl_module.run
        if run.step == 0:
            return
        self._saved, self._saved_at = run.step, run.seconds
        self._lowest = _loss_of_best(self.best, run)

        loss = run.validation_loss(run.step)
        if loss is not None and loss < self._lowest:
            if trainer.is_global_zero:
                with atomic_write(self.best) as partial:
                    shutil.copyfile(self.last, partial)
            self._lowest = loss
        elif self._lowest == math.inf and run.curve["valid"]:
            warnings.warn(
                f"There is no {self.best} of this run: the best state from here on is kept.",
                stacklevel=2,
            )

    def save_when_due(self, trainer: lightning.Trainer, run: RunRecord) -> None:
        """Save the last state if enough training time has passed; called after each step."""
        if run.seconds - self._saved_at >= self.seconds:
            self._save_last(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save_last(trainer)

        # All processes save together, so all take the decision of the first.
        lost = trainer.strategy.broadcast(self._lowest < math.inf and not self.best.exists())
        loss = pl_module.run.validation_loss(trainer.global_step)
        if loss is not None and (loss < self._lowest or lost):
            trainer.save_checkpoint(self.best)
            self._lowest = loss

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save_last(trainer)

    def _save_last(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self.last)
            module: Any = trainer.lightning_module
            self._saved, self._saved_at = trainer.global_step, module.run.seconds


def _loss_of_best(path: Path, run: RunRecord) -> float:
    """Return the validation loss of best.ckpt, or infinity if this run has no such file."""
    try:
        best = RunRecord.from_dict(read_checkpoint(path)[KEY], str(path))
    except (OSError, ValueError):
        return math.inf

    loss = best.validation_loss(best.step)
    of_this_run = [[step, loss] for step, _, loss in run.curve["valid"]]
    if loss is None or [best.step, loss] not in of_this_run:
        return math.inf
    return loss
