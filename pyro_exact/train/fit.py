"""Training via Lightning: from a model and data to a trained model and checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro

from pyro_exact.checks import check_path, check_size
from pyro_exact.data import Dataset, as_dataset
from pyro_exact.data.arrays import Data
from pyro_exact.files import check_writable
from pyro_exact.models import GenerativeModel
from pyro_exact.provenance import hardware
from pyro_exact.recipes import Elbo, Recipe, Training
from pyro_exact.train.callbacks import (
    Interrupts,
    Logger,
    make_logger,
    picture_of_samples,
)
from pyro_exact.train.checkpoint import BEST, LAST, load_weights
from pyro_exact.train.data_module import DataModule, check_labels, data_module, split_batch
from pyro_exact.train.device import matmul_precision, pick_device, quiet_lightning
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import only_run
from pyro_exact.train.run_record import LARGEST_SEED, RunRecord
from pyro_exact.train.saving import Checkpoints, check_start
from pyro_exact.train.trainer import make_callbacks, make_trainer, train, trained_model

Finish = Callable[[GenerativeModel, RunRecord], object]


@dataclass(frozen=True)
class Run:
    """A finished run, as `fit` returns it.

    Attributes:
        model: The trained model on the CPU, in evaluation mode; with averaged weights if
            ``training.ema_decay`` is set.
        record: Settings, progress and curve of the run.
        last: Path of the last checkpoint, from which a run is resumed.
        best: Path of the checkpoint with the lowest validation loss.
    """

    model: GenerativeModel
    record: RunRecord
    last: Path
    best: Path

    @property
    def curve(self) -> Mapping[str, Any]:
        """``train`` and ``valid``: lists of (step, seconds, loss)."""
        return self.record.curve


def fit(
    model: GenerativeModel | Recipe,
    data: Data,
    training: Training | None = None,
    out: str | Path = "runs/model",
    seed: int = 0,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    progress: bool = True,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    locked: bool = False,
    finish: Finish | None = None,
    init_from: str | Path | None = None,
    logger: Logger = "none",
) -> Run:
    """Train a model, and save checkpoints in a folder.

    The loss is `Trace_ELBO` of Pyro, computed using `generate` and `infer` of the model, with a
    single fused optimiser for all parameters that require a gradient (stock `SVI` on
    ``model.model`` and ``model.guide`` trains the same model, but more slowly). The batch and the
    noise of a step are functions of the seed and the step. So a resumed run continues exactly as if
    it had never stopped, when the budget is in steps.

    After each validation two files are in ``out``: ``checkpoint.ckpt``, the last state, from which
    a run is resumed and whose model is returned; and ``best.ckpt``, the state with the lowest
    validation loss so far. A checkpoint holds tensors and plain values, and never code. Use
    `load_weights` to load it into a model that the same code has built, or `load_model` for the
    model of a recipe. Ctrl-C, SIGTERM and SIGHUP stop the run after the current step and save it. A
    run that was killed continues from ``checkpoint.ckpt``, and partial files are removed. While a
    run uses a folder, no other run can start in it.

    Several processes share the batch of ``batch_size`` rows, and the noise of a row depends on the
    position in the batch. So a run may continue with more or fewer processes, and the losses are
    the same up to rounding.

    Args:
        model: The model, which is trained in place; use `pyro_exact.models.Pair` for a Pyro model
            and guide. Or a recipe, whose model is built with weights that depend on the seed.
        data: A tensor or an array, of which parts are held out for validation and test; a pair
            (train, valid); or a `Dataset`, for example from `pyro_exact.data.load`. The validation
            split is scored every ``validate_every`` steps and at the end.
        training: The settings of the training; by default those of the recipe, or ``Training()``.
        out: Folder for the checkpoints; it is created if necessary.
        seed: Seed of the weights of a recipe, the order of the rows, the noise and the validation
            split.
        resume: If true, the run should continue from ``checkpoint.ckpt`` in ``out``.
        source: Arguments of `pyro_exact.data.load` that load ``data`` again, to be stored in the
            checkpoint.
        progress: If true, print the size of the model and the time of a step, and show a progress
            bar.
        device: ``"cuda"``, ``"cpu"``, ``"mps"``, or ``"auto"``, which uses CUDA if available.
        devices: How many devices to use on each machine; several devices train via DDP. The batch
            is divided among all devices.
        nodes: Machines, each started by ``torchrun``.
        locked: If true, the caller already holds ``out``, by `pyro_exact.train.lock.folder_lock`,
            because it also writes there before or after the run.
        finish: Optional function that the first process calls with the trained model and the record
            of the run, while this process still holds ``out``; for example to write more files.
        init_from: Optional checkpoint whose weights the run begins with, in place of new weights.
        logger: ``"csv"`` or ``"tensorboard"`` to write losses to the folder ``logs`` of the run,
            using Lightning's loggers; the default is ``"none"``.

    Returns:
        The trained model, the curve, and the paths of the checkpoints.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If the data or the loss does not fit the model; if ``out`` holds another run, is
            in use by a run, or cannot be written.
        DivergedError: If the loss or the gradient is not finite; the last good checkpoint is kept.
        ConnectionError: If another process of the run has died.
        KeyboardInterrupt: After Ctrl-C or another of these signals, with the step and how to
            continue.
    """
    given, training = training, _settings(model, training)
    folder, device = check_path("fit", "out", out), pick_device(device)
    seed = check_size("fit", "seed", seed, least=0, most=LARGEST_SEED)
    processes = check_size("fit", "devices", devices) * check_size("fit", "nodes", nodes)
    _check_compile(training, processes)
    dataset = as_dataset(data, seed=seed)
    recipe = model.fitted(dataset).filled() if isinstance(model, Recipe) else None
    if recipe is not None and given is None:
        training = recipe.training

    pyro.set_rng_seed(seed)
    built = _built(model, recipe, dataset)
    loader = _prepare(built, dataset, training, seed, processes)
    training = _warm_start(built, training, init_from, resume)

    run = _record(built, recipe, dataset, training, seed, device, processes, source, init_from)
    last = folder / LAST
    check_start(run, built, last, resume)
    check_writable(folder)

    checkpoints = Checkpoints(folder, training.checkpoint_minutes)
    picture = picture_of_samples(dataset, training, folder)
    rows = len(dataset.split("train"))
    module = TrainingModule(built, run, last, processes, rows, checkpoints, picture)
    interrupts = Interrupts(module.stop)
    callbacks = [checkpoints, *make_callbacks(training, progress), interrupts]

    with quiet_lightning(), matmul_precision(training.matmul_precision):
        logs = make_logger(logger, folder)
        trainer = make_trainer(training, callbacks, progress, device, devices, nodes, logs)
        with only_run(folder, trainer.is_global_zero, locked), interrupts.heard():
            if not resume:  # another run may have started since the first check
                check_start(run, built, last, resume)
            train(trainer, module, loader, last if resume else None)

            trained = trained_model(module, callbacks)
            if finish is not None and trainer.is_global_zero:
                finish(trained, run)
    return Run(trained, run, last, folder / BEST)


def _built(
    model: GenerativeModel | Recipe, recipe: Recipe | None, data: Dataset
) -> GenerativeModel:
    """Return the model, or the model of the recipe, whose settings fit the data."""
    if isinstance(model, GenerativeModel):
        return model
    return (recipe or model).build(data.event_shape, data.levels)


def _warm_start(
    model: GenerativeModel, training: Training, checkpoint: str | Path | None, resume: bool
) -> Training:
    """Load the weights of a checkpoint, and return settings that do not initialise them again."""
    if checkpoint is None:
        return training

    if not resume:
        load_weights(model, checkpoint)
    return dataclasses.replace(training, initial_images=0)


def _settings(model: object, training: object) -> Training:
    """Return the settings of a run; raise TypeError on a model or settings of another type."""
    if not isinstance(model, (GenerativeModel, Recipe)):
        raise TypeError(
            f"fit expects a GenerativeModel or a Recipe; got {type(model).__name__}. Wrap a Pyro "
            f"model and guide in models.Pair, a distribution in models.Density, or read a recipe "
            f"with load_recipe."
        )
    if training is None:
        return model.training if isinstance(model, Recipe) else Training()
    if not isinstance(training, Training):
        raise TypeError(
            f"fit expects training as a Training; got {type(training).__name__}. Pass "
            f"Training(steps=...)."
        )
    return training


def _check_compile(training: Training, processes: int) -> None:
    if training.compile and processes * training.accumulate > 1:
        raise ValueError(
            f"training.compile expects one process and no accumulation, because noise that several "
            f"share cannot be compiled; got {processes} and {training.accumulate}. Leave it out, "
            f"or use one device."
        )


def _prepare(
    model: GenerativeModel, data: Dataset, training: Training, seed: int, processes: int
) -> DataModule:
    """Return the data of a run, after checks that they fit the model, whose parameters exist."""
    if model.exact and training.elbo != Elbo():
        raise ValueError(
            f"training.elbo is for models with latents; this {type(model).__name__} has an exact "
            f"likelihood. Leave it out."
        )
    check_labels(model, data)

    loader = data_module(model, data, training, seed, processes)
    x, condition = split_batch(loader.batches.batch(0))
    (model if condition is None else model.condition(condition)).prepare(x)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"fit expects a model with parameters to train; got a {type(model).__name__} without. "
            f"Set requires_grad of some parameters."
        )
    return loader


def _record(
    model: GenerativeModel,
    recipe: Recipe | None,
    data: Dataset,
    training: Training,
    seed: int,
    device: str,
    processes: int,
    source: Mapping[str, Any] | None,
    init_from: str | Path | None,
) -> RunRecord:
    """Return the record of a run that has not begun."""
    return RunRecord(
        name=type(model).__name__ if recipe is None else recipe.name,
        model=None if recipe is None else recipe.model,
        training=training,
        shape=data.event_shape,
        levels=data.levels,
        unit=data.unit,
        dataset=data.name,
        data=repr(data),
        seed=seed,
        hardware=hardware(device, processes),
        paper=None if recipe is None else recipe.paper,
        source=source,
        init_from=None if init_from is None else str(init_from),
        clock="computing" if device == "cpu" else "wall",
    )
