"""Lightning's trainer for a run, and the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import Training
from pyro_exact.train.announcement import Announcement
from pyro_exact.train.callbacks import Progress
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.compilation import Compilation
from pyro_exact.train.data_module import DataModule
from pyro_exact.train.ema import EMA
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.processes import fail_together


def make_callbacks(training: Training, progress: bool) -> list[Callback]:
    """Return the callbacks of a run; their order does not matter."""
    callbacks: list[Callback] = []
    if training.ema_decay is not None:
        callbacks.append(EMA(training.ema_decay))
    if training.compile:
        callbacks.append(Compilation())
    if progress:
        callbacks += [Announcement(), Progress()]
    return callbacks


def make_trainer(
    training: Training,
    callbacks: list[Callback],
    progress: bool,
    device: str,
    devices: int,
    nodes: int,
    logger: Any,
) -> lightning.Trainer:
    """Return Lightning's trainer, which writes nothing but our checkpoints and the logs."""
    return lightning.Trainer(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        max_steps=training.steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=training.validate_every * training.accumulate,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
    )


def train(
    trainer: lightning.Trainer,
    module: TrainingModule,
    data: DataModule,
    checkpoint: Path | None,
) -> None:
    """Train, and turn an early end into an error that says how to continue."""
    last = module.last
    advice = (
        f"{last} is the last checkpoint, if there is one; --resume (resume=True) goes on from it."
    )
    try:
        with fail_together(trainer, advice):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    except SystemExit as error:
        # Lightning raises it for a KeyboardInterrupt: here, for the second Ctrl-C.
        left = f"{last} is the last checkpoint" if last.exists() else "There is no checkpoint yet"
        raise KeyboardInterrupt(f"Stopped at once. {left}.") from error

    if module.stopped:
        raise KeyboardInterrupt(
            f"Stopped after {module.run.step} steps. {last} goes on from there with --resume "
            f"(resume=True)."
        )


def trained_model(module: TrainingModule, callbacks: list[Callback]) -> GenerativeModel:
    """Return the model of a run that has ended, with the average of the weights if there is one."""
    for callback in callbacks:
        if isinstance(callback, EMA):
            callback.copy_to(module)
    module.zero_grad()
    return module.model.cpu().eval()
