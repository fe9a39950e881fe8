"""What Lightning calls during training: checkpoints, the progress bar and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from pyro_exact.train.checkpoint import BEST, LAST
from pyro_exact.train.task import spent


class Checkpoints(Callback):
    """Save after each look at the validation split and at the end; keep the best apart.

    It has to stand before `WeightAveraging`, which at the end replaces the weights that a resumed run needs.

    Args:
        folder: For the two files, ``checkpoint.ckpt`` and ``best.ckpt``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saved: int | None = None

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save(trainer)
        valid = pl_module.run.curve["valid"]
        if valid and min(valid, key=lambda point: point[2])[0] == trainer.global_step:
            trainer.save_checkpoint(self.folder / BEST)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = trainer.global_step


class Progress(TQDMProgressBar):
    """One bar for the whole run, which counts optimiser steps; under a budget of minutes their total is an estimate."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=5)

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_start()
        self.train_progress_bar.initial = self.train_progress_bar.n = trainer.global_step

    def on_train_epoch_start(self, *_: Any) -> None:
        """Do not start a new bar."""

    def get_metrics(self, trainer: lightning.Trainer, pl_module: Any) -> dict[str, Any]:
        # Asked for when the bar is drawn: Lightning's log would do its work in every step.
        return {**super().get_metrics(trainer, pl_module), "bits/dim": pl_module.loss.item()}

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        step = trainer.global_step
        self.train_progress_bar.total = round(step / spent(pl_module.settings, step, pl_module.run.seconds))
        super().on_train_batch_end(trainer, pl_module, *rest)


@contextmanager
def first_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into a call; the second one interrupts as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows signal handlers in the main thread only
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        os.write(2, b"\nStopping after this step. Ctrl-C again stops at once, and loses what is not in a checkpoint.\n")
        call()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
