"""Training via Lightning: from a recipe and images to a trained model and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pyro
from lightning.pytorch.callbacks import Callback

from pyro_exact.checks import check_path, check_size
from pyro_exact.data import Images
from pyro_exact.files import check_writable, remove_partial
from pyro_exact.models import GenerativeModel
from pyro_exact.provenance import hardware
from pyro_exact.recipes import Elbo, Recipe
from pyro_exact.train.callbacks import Interrupts, Progress
from pyro_exact.train.checkpoint import BEST, LAST, AtomicCheckpointIO, load_model
from pyro_exact.train.compilation import Compilation
from pyro_exact.train.data_module import ImageDataModule, image_data_module
from pyro_exact.train.device import pick_device
from pyro_exact.train.ema import EMA
from pyro_exact.train.environment import matmul_precision, quiet_lightning
from pyro_exact.train.labels import check_labels
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import folder_lock
from pyro_exact.train.processes import fail_together
from pyro_exact.train.run_record import LARGEST_SEED, RunRecord
from pyro_exact.train.saving import Checkpoints
from pyro_exact.train.start import check_start

# The files of a run: the checkpoints, and the files that the command line adds.
FILES = (LAST, BEST, "recipe.yaml", "train.json", "curve.png")

Finish = Callable[[GenerativeModel, RunRecord], object]


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
    finish: Finish | None = None,
) -> GenerativeModel:
    """Train the model of a recipe on images, and save checkpoints in ``out``.

    The loss is `Trace_ELBO` of Pyro, computed using `generate` and `infer` of the model, with a
    single fused optimiser for all parameters (stock `SVI` on ``model.model`` and ``model.guide``
    trains the same model, but more slowly). The batch and the noise of a step are functions of the
    seed and the step. So a resumed run continues exactly as if it had never stopped, when the
    budget is in steps.

    After each validation two files are in ``out``: ``checkpoint.ckpt``, the last state, from which
    a run is resumed and whose model is returned; and ``best.ckpt``, the state with the lowest
    validation loss so far. Use `load_model` to load these files, with averaged weights where the
    recipe asks for an average. Ctrl-C, SIGTERM and SIGHUP stop the run after the current step and
    save it. A run that was killed continues from ``checkpoint.ckpt``, and partial files are
    removed. While a run uses a folder, no other run can start in it.

    Several processes share the batch of ``batch_size`` images, and the noise of an image depends on
    the position in the batch. So a run may continue with more or fewer processes, and the losses
    are the same up to rounding.

    Args:
        recipe: The model, and the settings of the training.
        images: The data; the validation split is scored every ``validate_every`` steps and at the
            end.
        out: Folder for the checkpoints; it is created if necessary.
        seed: Seed of the weights, the order of the images and the noise.
        resume: If true, the run should continue from ``checkpoint.ckpt`` in ``out``.
        source: Arguments of `pyro_exact.data.load` that load ``images`` again, to be stored in the
            checkpoint.
        progress: If true, show a progress bar.
        device: ``"cuda"``, ``"cpu"``, or ``"auto"``, which uses CUDA if available.
        devices: How many devices to use on each machine; several devices train via DDP. The batch
            is divided among all devices.
        nodes: Machines, each started by ``torchrun``.
        locked: If true, the caller already holds ``out``, by `pyro_exact.train.lock.folder_lock`,
            because it also writes there before or after the run.
        finish: Optional function that the first process calls with the trained model and the record
            of the run, while this process still holds ``out``; for example to write more files.

    Returns:
        The trained model on the CPU, in evaluation mode.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If the data or the loss does not fit the model; if ``out`` holds another run, is
            in use by a run, or cannot be written.
        DivergedError: If the loss or the gradient is not finite; the last good checkpoint is kept.
        ConnectionError: If another process of the run has died.
        KeyboardInterrupt: After Ctrl-C or another of these signals, with the step and how to
            continue.
    """
    _check_types(recipe, images)
    folder, device = check_path("fit", "out", out), pick_device(device)
    seed = check_size("fit", "seed", seed, least=0, most=LARGEST_SEED)
    processes = check_size("fit", "devices", devices) * check_size("fit", "nodes", nodes)
    if recipe.training.compile and processes > 1:
        raise ValueError(
            f"training.compile expects one process, because noise that several processes share "
            f"cannot be compiled; got {processes}. Leave it out, or use one device."
        )
    last = folder / LAST

    model = _build(recipe, images, seed)
    data = image_data_module(model, images, recipe.training, seed, processes)
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
    check_start(run, last, resume)
    check_writable(folder)

    module = TrainingModule(model, run, last, processes)
    interrupts = Interrupts(module.stop)
    callbacks = [*_callbacks(recipe, folder, progress), interrupts]
    with quiet_lightning(), matmul_precision(recipe.training.matmul_precision):
        trainer = _trainer(recipe, callbacks, progress, device, devices, nodes)
        with _only_run(folder, trainer.is_global_zero, locked), interrupts.heard():
            if not resume:
                check_start(run, last, resume)  # another run may have started and ended since
            _train(trainer, module, data, last if resume else None)

            trained, ended = load_model(last)
            if finish is not None and trainer.is_global_zero:
                finish(trained, ended)
    return trained


def _check_types(recipe: object, images: object) -> None:
    if not isinstance(recipe, Recipe):
        raise TypeError(
            f"fit expects a Recipe; got {type(recipe).__name__}. Read one with load_recipe."
        )
    if not isinstance(images, Images):
        raise TypeError(
            f"fit expects Images; got {type(images).__name__}. Use data.load, or build Images from "
            f"three splits."
        )


def _build(recipe: Recipe, images: Images, seed: int) -> GenerativeModel:
    """Return the model of a recipe with initial weights, after checks that the data fit it."""
    pyro.set_rng_seed(seed)
    model = recipe.build(images.shape, images.levels)
    if model.exact and recipe.training.elbo != Elbo():
        raise ValueError(
            f"training.elbo is for models with latents; {recipe.model['name']} has an exact "
            f"likelihood. Leave it out."
        )
    check_labels(model, images)
    return model


def _callbacks(recipe: Recipe, folder: Path, progress: bool) -> list[Callback]:
    """Return the callbacks of a run; their order does not matter."""
    callbacks: list[Callback] = [Checkpoints(folder)]
    if recipe.training.ema_decay is not None:
        callbacks.append(EMA(recipe.training.ema_decay))
    if recipe.training.compile:
        callbacks.append(Compilation())
    if progress:
        callbacks.append(Progress())
    return callbacks


def _trainer(
    recipe: Recipe,
    callbacks: list[Callback],
    progress: bool,
    device: str,
    devices: int,
    nodes: int,
) -> lightning.Trainer:
    """Return Lightning's trainer, which writes nothing but our checkpoints."""
    settings = recipe.training
    return lightning.Trainer(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        max_steps=settings.steps,
        max_epochs=-1,
        callbacks=callbacks,
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


@contextmanager
def _only_run(folder: Path, first: bool, locked: bool) -> Iterator[None]:
    """Hold a folder in the first process of a run, and remove the partial files of a killed run."""
    if not first:
        yield
        return
    with nullcontext() if locked else folder_lock(folder):
        for name in FILES:
            remove_partial(folder / name, of_the_living=True)
        yield


def _train(
    trainer: lightning.Trainer,
    module: TrainingModule,
    data: ImageDataModule,
    checkpoint: Path | None,
) -> None:
    """Train, and turn an early end into an error that says how to continue."""
    last = module.last
    advice = f"{last} is the last checkpoint, if there is one; --resume goes on from it."
    try:
        with fail_together(trainer, advice):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    except SystemExit as error:
        # Lightning raises it for a KeyboardInterrupt: here, for the second Ctrl-C.
        left = f"{last} is the last checkpoint" if last.exists() else "There is no checkpoint yet"
        raise KeyboardInterrupt(f"Stopped at once. {left}.") from error

    if module.stopped:
        raise KeyboardInterrupt(
            f"Stopped after {module.run.step} steps. {last} goes on from there with --resume."
        )
