"""Lightning callbacks for the user of a terminal: the progress bar, and signals that end a run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from pyro_exact.train.budget import budget_fraction

_STOPPING = (
    b"\nStopping after this step. The same again stops at once, and loses what was not saved.\n"
)


class Progress(TQDMProgressBar):
    """A single progress bar for the whole run, which counts optimiser steps.

    When the budget is in minutes, the total count of steps is an estimate.
    """

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
        # Called only when the bar is drawn. `LightningModule.log` would cost time in each step.
        return {**super().get_metrics(trainer, pl_module), "bits/dim": pl_module.loss.item()}

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        step = trainer.global_step
        used = budget_fraction(pl_module.settings, step, pl_module.run.seconds)
        self.train_progress_bar.total = round(step / used)
        super().on_train_batch_end(trainer, pl_module, *rest)


class Interrupts(Callback):
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a call; a second signal acts as usual.

    Clusters send SIGTERM before they end a job, and a terminal that closes sends SIGHUP. A SIGHUP
    that the process ignores, for example because of `nohup`, stays ignored. Ctrl-C always counts:
    a script that starts a run in the background makes it ignore SIGINT, and then the run could not
    be stopped.

    Args:
        call: The function to call, for example to stop the run after the current step.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._before: dict[int, Any] = {}

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Handle the signals in a with-block."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows signal handlers in the main thread only
            return

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if number == signal.SIGINT or handler != signal.SIG_IGN:
                self._before[number] = handler
        self._install()
        try:
            yield
        finally:
            self._restore()
            self._before = {}

    def on_train_start(self, *_: Any) -> None:
        # Lightning has just installed a handler of its own, which ends the run without saving it.
        self._install()

    def _install(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, *_: Any) -> None:
        self._restore()
        with suppress(OSError):  # the terminal may be gone
            os.write(2, _STOPPING)
        self._call()
