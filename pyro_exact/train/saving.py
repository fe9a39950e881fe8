"""When a run saves its state, and which state is the best."""

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
    """Save after each look at the validation split and at the end; keep the best apart.

    The last state is written first, so a run that is killed between the two has a last state that
    may be better than its best one. When it is resumed, it is copied: best.ckpt is then that of a
    run that was never killed.

    It has to stand before `WeightAveraging`, which at the end replaces the weights that a resumed
    run needs.

    Args:
        folder: For the two files, ``checkpoint.ckpt`` and ``best.ckpt``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saved: int | None = None  # the step of checkpoint.ckpt
        self._lowest = math.inf  # the validation loss of best.ckpt

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        run: RunRecord = pl_module.run
        if run.step == 0:
            return
        self._saved = run.step
        self._lowest = _loss_of_best(self.folder / BEST, run)
        look = _look_at(run, run.step)
        if look is not None and look < self._lowest:
            if trainer.is_global_zero:
                with atomic_write(self.folder / BEST) as partial:
                    shutil.copyfile(self.folder / LAST, partial)
            self._lowest = look
        elif self._lowest == math.inf:
            warnings.warn(
                f"There is no {self.folder / BEST} of this run: the best state from here on is kept.",
                stacklevel=2,
            )

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save(trainer)
        look = _look_at(pl_module.run, trainer.global_step)
        # All processes decide as the first one, for they save together.
        lost = trainer.strategy.broadcast(
            self._lowest < math.inf and not (self.folder / BEST).exists()
        )
        if look is not None and (look < self._lowest or lost):
            trainer.save_checkpoint(self.folder / BEST)
            self._lowest = look

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = trainer.global_step


def _look_at(run: RunRecord, step: int) -> float | None:
    """Return the validation loss at a step, if that was the last look."""
    looks = run.curve["valid"]
    return looks[-1][2] if looks and looks[-1][0] == step else None


def _loss_of_best(path: Path, run: RunRecord) -> float:
    """Return the validation loss of best.ckpt, or infinity if there is none of this run that can be read."""
    try:
        best = RunRecord.from_dict(read_checkpoint(path)[KEY], str(path))
    except (OSError, ValueError):
        return math.inf
    loss = _look_at(best, best.step)
    of_this_run = [[step, loss] for step, _, loss in run.curve["valid"]]
    return loss if loss is not None and [best.step, loss] in of_this_run else math.inf
