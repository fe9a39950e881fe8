"""What Lightning calls during training: the progress bar, and signals that end it."""

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

from pyro_exact.train.lightning_module import budget_fraction


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
        self.train_progress_bar.total = round(
            step / budget_fraction(pl_module.settings, step, pl_module.run.seconds)
        )
        super().on_train_batch_end(trainer, pl_module, *rest)


class Interrupts(Callback):
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a call; the second one acts as ever.

    SIGTERM is the notice of a cluster, SIGHUP that of a terminal that closes. Where `nohup` has the
    process ignore that one, it still does. Ctrl-C is heard in any case: a script that starts a run
    in the background has it ignored, and the run could not be told to stop.

    Args:
        call: For example to stop after this step.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._before: dict[int, Any] = {}

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear them in a with-block."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows signal handlers in the main thread only
            return
        handlers = {
            number: signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        ignored = {number for number, handler in handlers.items() if handler == signal.SIG_IGN} - {
            signal.SIGINT
        }
        self._before = {
            number: handler for number, handler in handlers.items() if number not in ignored
        }
        self._hear()
        try:
            yield
        finally:
            self._leave()
            self._before = {}

    def on_train_start(self, *_: Any) -> None:
        self._hear()  # for Lightning has put a handler of its own before ours, which ends the run without saving it

    def _hear(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def _leave(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, *_: Any) -> None:
        self._leave()
        with suppress(OSError):  # a terminal that is gone
            os.write(
                2,
                b"\nStopping after this step. The same again stops at once, and loses what was not saved.\n",
            )
        self._call()
