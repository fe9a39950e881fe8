"""Training on Lightning, from a recipe and images to a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pyro
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging

from pyro_exact.checks import check_path, check_size
from pyro_exact.data import Batches, Images
from pyro_exact.files import check_writable, remove_partial
from pyro_exact.models import GenerativeModel
from pyro_exact.provenance import hardware
from pyro_exact.recipes import Elbo, Recipe
from pyro_exact.train.callbacks import Interrupts, Progress
from pyro_exact.train.checkpoint import (
    BEST,
    KEY,
    LAST,
    AtomicCheckpointIO,
    load_model,
    read_checkpoint,
)
from pyro_exact.train.device import pick_device
from pyro_exact.train.ema import ema_update
from pyro_exact.train.evaluate import check_labels, labels_for
from pyro_exact.train.lightning_module import Data, TrainingModule
from pyro_exact.train.lock import folder_lock
from pyro_exact.train.processes import fail_together
from pyro_exact.train.run_record import LARGEST_SEED, RunRecord
from pyro_exact.train.saving import Checkpoints

FILES = (
    LAST,
    BEST,
    "recipe.yaml",
    "train.json",
    "curve.png",
)  # of a run, with those that the command line adds


def fit(
    recipe: Recipe,
    images: Images,
    out: str | Path,
    seed: int = 0,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    progress: bool = True,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    locked: bool = False,
) -> GenerativeModel:
    """Train the model of a recipe on images, and leave checkpoints in ``out``.

    The loss is Pyro's `Trace_ELBO` of the model's `generate` and `infer`, with one fused optimiser
    over all parameters (stock `SVI` on ``model.model`` and ``model.guide`` trains the same model,
    more slowly). The batch and the noise of a step are functions of the seed and the step, so a
    resumed run goes on exactly as if it had never stopped, as long as its budget is one of steps.

    Two files appear in ``out`` at each look at the validation split: ``checkpoint.ckpt``, the last
    state, from which a run is resumed and which is returned; and ``best.ckpt``, the state with the
    lowest validation loss so far. Both load with `load_model`, with averaged weights where the
    recipe asks for them. Ctrl-C, SIGTERM (the notice of a cluster) and SIGHUP stop after the step
    and save. A run that is killed goes on from ``checkpoint.ckpt``, and what it was writing is
    removed. While a run is in it, no other one can begin in the folder.

    Several processes share the batch of ``batch_size`` images, and the noise of an image depends on
    its place in the
    batch: so a run may go on with another number of them, and its losses are then the same but for
        rounding.

    Args:
        recipe: The model and how it is trained.
        images: The data; its validation split is looked at every ``validate_every`` steps and at
            the end.
        out: Folder for the checkpoints; made if need be.
        seed: Of the weights, the order of the images and the noise.
        resume: Whether to go on from ``checkpoint.ckpt`` in ``out``.
        source: Arguments of `pyro_exact.data.load` that give ``images`` again, for the checkpoint
            to remember.
        progress: Whether to show a progress bar.
        device: ``"cuda"``, ``"cpu"``, or ``"auto"`` for the first of them that there is.
        devices: How many on each machine; more than one trains with DDP. The batch is divided among
            all.
        nodes: How many machines, each started by ``torchrun``.
        locked: Whether the caller holds ``out`` already, by `pyro_exact.train.lock.folder_lock`,
            because it writes there before or after the run too.

    Returns:
        The trained model on the CPU, in evaluation mode.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the data or the loss does not fit the model, or ``out`` holds another run, is
            in use by one, or cannot be written.
        DivergedError: If the loss or its gradient is not finite; the last good checkpoint stays.
        ConnectionError: If another process of the run has died.
        KeyboardInterrupt: After Ctrl-C or one of those signals, with the step and how to go on.
    """
    _check_types(recipe, images)
    folder, device = check_path("fit", "out", out), pick_device(device)
    seed = check_size("fit", "seed", seed, least=0, most=LARGEST_SEED)
    devices, nodes = (
        check_size("fit", name, n) for name, n in (("devices", devices), ("nodes", nodes))
    )
    settings = recipe.training
    pyro.set_rng_seed(seed)
    model = recipe.build(images.shape, images.levels)
    if model.exact and settings.elbo != Elbo():
        raise ValueError(
            f"training.elbo is for models with latents; {recipe.model['name']} has an exact likelihood. Leave it out."
        )
    check_labels(model, images)
    labels, processes = labels_for(model, images, "train"), devices * nodes
    each = _images_each(settings.batch_size, processes)
    batches = Batches(
        images.train, each, seed, world_size=processes, flip=settings.flip, labels=labels
    )
    run = RunRecord(
        recipe.filled(),
        images.shape,
        images.levels,
        repr(images),
        seed,
        hardware(device, processes),
        source,
        clock="computing" if device == "cpu" else "wall",
    )
    last = folder / LAST
    _check_start(run, last, resume)
    check_writable(folder)
    task = TrainingModule(model, run, last, processes)
    interrupts = Interrupts(task.stop)
    with _quiet(), _matmul_precision(settings.matmul_precision):
        trainer = lightning.Trainer(
            accelerator=device,
            devices=devices,
            num_nodes=nodes,
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            max_steps=settings.steps,
            max_epochs=-1,
            callbacks=[*_callbacks(recipe, folder, progress), interrupts],
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            val_check_interval=settings.validate_every,
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
        )
        with _only_run(folder, trainer.is_global_zero, locked), interrupts.heard():
            if not resume:
                _check_start(
                    run, last, resume
                )  # again, for another run may have begun and ended since
            _train(trainer, task, Data(images, batches), last if resume else None)
    return load_model(last)[0]


def _check_types(recipe: object, images: object) -> None:
    if not isinstance(recipe, Recipe):
        raise TypeError(
            f"fit expects a Recipe; got {type(recipe).__name__}. Read one with load_recipe."
        )
    if not isinstance(images, Images):
        raise TypeError(
            f"fit expects Images; got {type(images).__name__}. Load them, or make them of three splits."
        )


@contextmanager
def _only_run(folder: Path, first: bool, locked: bool) -> Iterator[None]:
    """Keep a folder to the first process of this run, and remove what one that was killed left half-written in it."""
    if not first:
        yield
        return
    with nullcontext() if locked else folder_lock(folder):
        for name in FILES:
            remove_partial(folder / name, of_the_living=True)
        yield


def _images_each(batch_size: int, processes: int) -> int:
    """Return how many images of a batch each process takes."""
    if processes < 1 or batch_size % processes:
        raise ValueError(
            f"training.batch_size expects a multiple of the number of processes (devices times nodes), which share a "
            f"batch; got {batch_size} for {processes}. Change one of them."
        )
    return batch_size // processes


def _callbacks(recipe: Recipe, folder: Path, progress: bool) -> list[Callback]:
    callbacks: list[Callback] = [Checkpoints(folder)]
    if recipe.training.ema_decay is not None:
        average = ema_update(recipe.training.ema_decay)
        callbacks.append(WeightAveraging(use_buffers=False, multi_avg_fn=average))
    return [*callbacks, Progress()] if progress else callbacks


def _train(
    trainer: lightning.Trainer, task: TrainingModule, data: Data, checkpoint: Path | None
) -> None:
    left = f"{task.last} is the last checkpoint, if there is one; --resume goes on from it."
    try:
        with fail_together(trainer, left):
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
    except (
        SystemExit
    ) as error:  # what Lightning makes of a KeyboardInterrupt, here of the second Ctrl-C
        left = (
            f"{task.last} is the last checkpoint"
            if task.last.exists()
            else "There is no checkpoint yet"
        )
        raise KeyboardInterrupt(f"Stopped at once. {left}.") from error
    if task.stopped:
        raise KeyboardInterrupt(
            f"Stopped after {task.run.step} steps. {task.last} goes on from there with --resume."
        )


def _check_start(run: RunRecord, last: Path, resume: bool) -> None:
    """Make sure that a run starts in a new place, or goes on from a checkpoint of its own; budgets may differ."""
    if not resume:
        best = last.with_name(BEST)
        if os.path.exists(last):
            raise ValueError(
                f"{last} exists. Go on from it with resume=True (--resume), or choose another folder (--out)."
            )
        if os.path.exists(best):
            raise ValueError(
                f"{best} exists, of a run whose last state is gone. Choose another folder (--out)."
            )
        return
    found, wanted = (
        _identity(r) for r in (RunRecord.from_dict(read_checkpoint(last)[KEY], str(last)), run)
    )
    differences = [
        f"{key} ({found.get(key)!r} there, {wanted.get(key)!r} here)"
        for key in sorted({*found, *wanted})
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError(
            f"{last} is the checkpoint of another run; different are {', '.join(differences)}. "
            f"Resume with the same recipe, data and seed, or choose another folder (--out)."
        )


def _identity(run: RunRecord) -> dict[str, Any]:
    """Return what two runs must share if one continues the other."""
    training = dataclasses.asdict(run.recipe.training)
    for budget in ("steps", "minutes", "validate_every", "validate_on"):
        del training[budget]
    settings = {f"model.{k}": v for k, v in run.recipe.model.items()} | {
        f"training.{k}": v for k, v in training.items()
    }
    return {"data": run.data, "levels": run.levels, "seed": run.seed, **settings}


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what Lightning says of itself; its warnings about the run pass."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*LeafSpec.* is deprecated",
                ".*sync_dist=True",
                "Encountered (NaN|inf)",
            ):
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
