"""Training via Lightning: from a model and data to a trained model and checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pyro
from lightning.pytorch.callbacks import Callback

from pyro_exact.checks import check_path, check_size
from pyro_exact.data import Dataset, as_dataset
from pyro_exact.data.arrays import Data
from pyro_exact.files import check_writable
from pyro_exact.models import GenerativeModel
from pyro_exact.provenance import hardware
from pyro_exact.recipes import Elbo, Recipe, Training
from pyro_exact.train.announcement import Announcement
from pyro_exact.train.callbacks import (
    Interrupts,
    Logger,
    Progress,
    make_logger,
    picture_of_samples,
)
from pyro_exact.train.checkpoint import BEST, LAST, AtomicCheckpointIO, load_weights
from pyro_exact.train.compilation import Compilation
from pyro_exact.train.data_module import DataModule, check_labels, data_module, split_batch
from pyro_exact.train.device import matmul_precision, pick_device, quiet_lightning
from pyro_exact.train.ema import EMA
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import only_run
from pyro_exact.train.processes import fail_together
from pyro_exact.train.run_record import LARGEST_SEED, RunRecord
from pyro_exact.train.saving import Checkpoints, check_start

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
    asked, training = training, _settings(model, training)
    folder, device = check_path("fit", "out", out), pick_device(device)
    seed = check_size("fit", "seed", seed, least=0, most=LARGEST_SEED)
    processes = check_size("fit", "devices", devices) * check_size("fit", "nodes", nodes)
    _check_compile(training, processes)
    dataset = as_dataset(data, seed=seed)
    recipe = model.fitted(dataset).filled() if isinstance(model, Recipe) else None
    if recipe is not None and asked is None:
        training = recipe.training

    pyro.set_rng_seed(seed)
    built = _built(model, recipe, dataset)
    loader = _prepare(built, dataset, training, seed, processes)
    if init_from is not None:
        # The weights of trained layers must not be set from data again.
        training = dataclasses.replace(training, initial_images=0)
        if not resume:
            load_weights(built, init_from)

    record = _record(built, recipe, dataset, training, seed, device, processes)
    start = None if init_from is None else str(init_from)
    run = dataclasses.replace(record, source=source, init_from=start)
    last = folder / LAST
    check_start(run, built, last, resume)
    check_writable(folder)

    checkpoints = Checkpoints(folder, training.checkpoint_minutes)
    look, rows = picture_of_samples(dataset, training, folder), len(dataset.split("train"))
    module = TrainingModule(built, run, last, processes, rows, checkpoints, look)
    interrupts = Interrupts(module.stop)
    callbacks = [checkpoints, *_callbacks(training, progress), interrupts]

    with quiet_lightning(), matmul_precision(training.matmul_precision):
        logs = make_logger(logger, folder)
        trainer = _trainer(training, callbacks, progress, device, devices, nodes, logs)
        with only_run(folder, trainer.is_global_zero, locked), interrupts.heard():
            if not resume:
                check_start(run, built, last, resume)  # another run may have started since
            _train(trainer, module, loader, last if resume else None)

            trained = _trained(module, callbacks)
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
        clock="computing" if device == "cpu" else "wall",
    )


def _callbacks(training: Training, progress: bool) -> list[Callback]:
    """Return the callbacks of a run; their order does not matter."""
    callbacks: list[Callback] = []
    if training.ema_decay is not None:
        callbacks.append(EMA(training.ema_decay))
    if training.compile:
        callbacks.append(Compilation())
    if progress:
        callbacks += [Announcement(), Progress()]
    return callbacks


def _trainer(
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


def _train(
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


def _trained(module: TrainingModule, callbacks: list[Callback]) -> GenerativeModel:
    """Return the model of a run that has ended, with the average of the weights if there is one."""
    for callback in callbacks:
        if isinstance(callback, EMA):
            callback.copy_to(module)
    module.zero_grad()
    return module.model.cpu().eval()
