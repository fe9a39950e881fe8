"""The parts of a run that a person sees: progress, pictures of samples, logs, and signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from pyro_exact.checks import check_choice
from pyro_exact.data import Dataset
from pyro_exact.models import GenerativeModel
from pyro_exact.models.generative_model import evaluating
from pyro_exact.plots import save_grids
from pyro_exact.recipes import Training
from pyro_exact.train.run_record import RunRecord

Logger = Literal["tensorboard", "csv", "none"]

SAMPLES = 16  # images in a picture of samples

_STOPPING = b"\nStopping after this step. Repeat to stop at once, without saving.\n"


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
        run: RunRecord = pl_module.run
        loss = run.reported(pl_module.loss.item())
        metrics = {**super().get_metrics(trainer, pl_module), run.reported_unit: loss}
        return {name: value for name, value in metrics.items() if name != "v_num"}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        if step == 0:  # the first parts of a batch
            return
        used = pl_module.settings.budget_fraction(step, pl_module.run.seconds)
        self.train_progress_bar.total = round(step / used)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, step - 1)


def picture_of_samples(
    data: Dataset, training: Training, folder: Path
) -> Callable[[GenerativeModel, RunRecord], None] | None:
    """Return a function that draws samples of a model every ``training.sample_every`` validations.

    Args:
        data: The training data, which must be images.
        training: The settings; the result is `None` if they ask for no samples.
        folder: The folder of the run; pictures are in its folder ``samples``.

    Raises:
        ValueError: If the data are not images.
    """
    every, levels = training.sample_every, data.levels
    if every is None:
        return None
    if len(data.event_shape) != 3 or levels is None:
        raise ValueError(
            f"training.sample_every expects images with levels; got data of shape "
            f"{data.event_shape}. Leave it out."
        )

    def look(model: GenerativeModel, run: RunRecord) -> None:
        if len(run.curve["valid"]) % every:
            return
        with evaluating(model), torch.no_grad():
            samples = _samples(model)
        path = folder / "samples" / f"{run.curve['valid'][-1][0]:08d}.png"
        save_grids({path.stem: samples.cpu()}, levels, path)

    return look


def _samples(model: GenerativeModel) -> torch.Tensor:
    """Draw samples, in turn of each class of a class-conditional model."""
    if model.classes is None:
        return model.sample(SAMPLES)

    device = next(model.parameters()).device
    each = max(1, SAMPLES // model.classes)
    drawn = model.condition(torch.arange(model.classes, device=device)).sample(each)
    return drawn.flatten(0, 1)


def make_logger(name: Logger, folder: Path) -> Any:
    """Return a logger that writes into the folder ``logs`` of a run, or `False` for ``"none"``.

    Args:
        name: ``"tensorboard"``, ``"csv"`` or ``"none"``.
        folder: The folder of the run.

    Raises:
        ValueError: If there is no such logger.
        ModuleNotFoundError: If tensorboard is not installed.
    """
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    check_choice("fit", "logger", name, ("tensorboard", "csv", "none"))
    if name == "csv":
        return CSVLogger(folder, name="logs", flush_logs_every_n_steps=1)
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="logs")
    return False


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
