"""The size of a model and the time of a run, printed when training starts."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pyro_exact.models import GenerativeModel
from pyro_exact.train.run_record import RunRecord

MEASURED = 4  # steps whose time is measured


class Announcement(Callback):
    """Prints the parameters of a model, then memory and time of a step, and of the budget.

    The memory of the layers is that of the tensors that the first step saves for the backward pass.
    The time of the first step is not measured, because this step allocates memory and may compile.
    """

    def __init__(self) -> None:
        self._first, self._started = 0, 0.0
        self._saved: dict[int, int] = {}  # bytes of each block of memory
        self._watch: saved_tensors_hooks | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._first = trainer.global_step
        if trainer.is_global_zero:
            print(_size(pl_module.model, pl_module.run))

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        first_part = trainer.global_step == self._first and not self._saved
        if first_part and not pl_module.settings.compile:
            self._watch = saved_tensors_hooks(self._count, lambda tensor: tensor)
            self._watch.__enter__()

    def on_before_backward(self, trainer: lightning.Trainer, pl_module: Any, loss: Tensor) -> None:
        self._stop_watching()
        for parameter in pl_module.parameters():
            self._saved.pop(parameter.untyped_storage().data_ptr(), None)

    def on_exception(self, *_: Any) -> None:
        self._stop_watching()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        steps = trainer.global_step - self._first - 1
        if steps == 0:
            self._started = time.perf_counter()
        elif steps == MEASURED and self._started and trainer.is_global_zero:
            seconds = (time.perf_counter() - self._started) / steps
            saved, self._started = sum(self._saved.values()), 0.0
            print("\n" + _budget(seconds, saved, trainer.global_step, pl_module.run))

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # without the graph, which would refer to itself

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self._watch = None


def _size(model: GenerativeModel, run: RunRecord) -> str:
    """Return the parameters of a model, and the memory that they take in training, as text."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    count = sum(weight.numel() for weight in weights)
    size = sum(weight.numel() * weight.element_size() for weight in weights)

    # The weight, the gradient, two moments of the optimiser, and the average.
    copies = 4 + (run.training.ema_decay is not None)
    return (
        f"{run.name}: {count:,} parameters, which take {_bytes(copies * size)} with gradients and "
        f"optimiser."
    )


def _budget(seconds: float, saved: int, step: int, run: RunRecord) -> str:
    """Return the memory and the time of a step, and the time that the budget takes, as text."""
    left = seconds * (run.training.steps - step)
    if run.training.minutes is not None:
        left = min(left, 60 * run.training.minutes - run.seconds)

    memory = f", and {_bytes(saved)} for the layers" if saved else ""
    return (
        f"A step takes {_time(seconds)}{memory}. The run takes about {_time(max(left, 0))} more, "
        f"and validation comes on top."
    )


def _bytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"
