"""The callback that saves the last and the best state of a run."""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

from pyro_exact.files import atomic_write
from pyro_exact.train.checkpoint import BEST, KEY, LAST, read_checkpoint
from pyro_exact.train.run_record import RunRecord


class Checkpoints(Callback):
    """Save the state after each validation and at the end; keep the best state in a second file.

    The last state is written first. If a run is killed between the two writes, the last state may
    be better than the best state. When the run is resumed, the last state is copied, so that
    best.ckpt is the same as after an uninterrupted run.

    Args:
        folder: Folder of the two files, ``checkpoint.ckpt`` and ``best.ckpt``.
    """

    def __init__(self, folder: Path) -> None:
        self.last, self.best = folder / LAST, folder / BEST
        self._saved: int | None = None  # step of the last checkpoint
        self._lowest = math.inf  # validation loss of the best checkpoint

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        run: RunRecord = pl_module.run
        if run.step == 0:
            return
        self._saved = run.step
        self._lowest = _loss_of_best(self.best, run)

        loss = run.validation_loss(run.step)
        if loss is not None and loss < self._lowest:
            if trainer.is_global_zero:
                with atomic_write(self.best) as partial:
                    shutil.copyfile(self.last, partial)
            self._lowest = loss
        elif self._lowest == math.inf:
            warnings.warn(
                f"There is no {self.best} of this run: the best state from here on is kept.",
                stacklevel=2,
            )

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
            self._saved = trainer.global_step


def _loss_of_best(path: Path, run: RunRecord) -> float:
    """Return the validation loss of best.ckpt, or infinity if this run has no such file."""
    try:
        best = RunRecord.from_dict(read_checkpoint(path)[KEY], str(path))
    except (OSError, ValueError):
        return math.inf

    loss = best.validation_loss(best.step)
    of_this_run = [[step, bits] for step, _, bits in run.curve["valid"]]
    if loss is None or [best.step, loss] not in of_this_run:
        return math.inf
    return loss
