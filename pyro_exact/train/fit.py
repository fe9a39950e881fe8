"""Training on Lightning: one step of `Trace_ELBO`, and what a long run needs around it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pyro
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar, WeightAveraging
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from pyro_exact.data import Batches, Images
from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import Recipe, Training
from pyro_exact.train.checkpoint import KEY, AtomicCheckpointIO, read_checkpoint
from pyro_exact.train.divergence import DivergedError, first_non_finite
from pyro_exact.train.evaluate import evaluate

CHECKPOINT = "checkpoint.ckpt"


def fit(
    recipe: Recipe,
    images: Images,
    out: str | Path,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    accelerator: str = "auto",
    devices: int | str = "auto",
) -> GenerativeModel:
    """Train the model of a recipe on images, and leave a checkpoint in ``out``.

    The loss is Pyro's `Trace_ELBO` of the model's `generate` and `infer`, with one fused optimiser over all parameters
    (stock `SVI` on ``model.model`` and ``model.guide`` trains the same model, more slowly). Batch t is a function of the
    seed and t, and the random state is saved, so that a resumed run on a budget of steps goes on exactly as if it had
    never stopped.

    Args:
        recipe: The model and how it is trained.
        images: The data; its validation split is looked at every ``validate_every`` steps.
        out: Folder for ``checkpoint.ckpt``; made if need be.
        seed: Of the weights, the order of the images and the noise.
        resume: Whether to go on from the checkpoint in ``out``.
        progress: Whether to show a progress bar.
        accelerator: As Lightning's: ``"auto"``, ``"cpu"``, ``"gpu"``.
        devices: As Lightning's; more than one trains with DDP.

    Returns:
        The trained model on the CPU, in evaluation mode, with averaged weights where the recipe asks for them.

    Raises:
        ValueError: If the data does not fit the model, or the checkpoint is that of another recipe.
        OSError: If nothing can be written to ``out``.
        DivergedError: If the loss or its gradient is not finite; the last good checkpoint stays.
    """
    out = Path(out)
    check_writable(out)
    path = out / CHECKPOINT
    about = {
        "recipe": recipe.to_dict(),
        "shape": list(images.shape),
        "levels": images.levels,
        "data": images.name,
        "seed": seed,
    }
    if resume:
        _same_run(read_checkpoint(path)[KEY], about, path)
    elif path.exists():
        raise ValueError(f"{path} exists already. Resume that run with --resume true, or choose another folder.")
    lightning.seed_everything(seed, verbose=False)
    task = _Task(recipe.build(images.shape, images.levels), recipe.training, images, about, path)
    callbacks: list[Callback] = [_Checkpoints(path)]
    if recipe.training.ema_decay is not None:
        average = get_ema_multi_avg_fn(recipe.training.ema_decay)
        callbacks.insert(0, WeightAveraging(use_buffers=False, multi_avg_fn=average))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have many workers|not resumable|infinite|IterableDataset).*")
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision="bf16-mixed" if recipe.training.precision == "bf16" else "32-true",
            max_steps=recipe.training.steps,
            max_epochs=-1,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            val_check_interval=recipe.training.validate_every,
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
        )
        trainer.fit(task, ckpt_path=path if resume else None)
    if trainer.interrupted:
        raise KeyboardInterrupt(f"Stopped at step {trainer.global_step}; {path} is kept. Go on with --resume true.")
    return task.model.cpu().eval()


class _Task(lightning.LightningModule):
    """One training step, one look at the validation split, and the state that a run must not lose."""

    def __init__(
        self, model: GenerativeModel, training: Training, images: Images, about: dict[str, Any], path: Path
    ) -> None:
        super().__init__()
        self.model = model
        self.training_settings, self.images, self.about, self.path = training, images, about, path
        self.elbo = Trace_ELBO()
        self.curve: dict[str, list[list[float]]] = {"train": [], "valid": []}
        self.seconds = 0.0
        self._recent: list[Tensor] = []
        self._random_state: dict[str, Tensor] | None = None

    # The loss --------------------------------------------------------------------------------------------------------

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """Return the differentiable loss of a batch, in bits per dimension."""
        with pyro.plate("data", len(x)):
            loss: Tensor = self.elbo.differentiable_loss(self.model.generate, self.model.infer, x)
        return loss / (x.numel() * math.log(2))

    def training_step(self, x: Tensor, batch_idx: int) -> Tensor:
        before = torch.get_rng_state()
        loss = self.bits_per_dim(x)
        if not bool(torch.isfinite(loss)):
            torch.set_rng_state(before)
            self._diverged("loss", first_non_finite(self.model, lambda: self.bits_per_dim(x)))
        self._recent.append(loss.detach())
        self.log("bits/dim", loss.detach(), prog_bar=True, batch_size=len(x))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            score = evaluate(self.model, self.images.valid, batch_size=self.training_settings.batch_size)
            self.curve["valid"].append([self.global_step, self.seconds, score.bits_per_dim])
            self.log("valid bits/dim", score.bits_per_dim, prog_bar=True, rank_zero_only=True, batch_size=1)

    # The data --------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Tensor]:
        settings = self.training_settings
        batches = Batches(
            self.images.train, settings.batch_size, seed=self.about["seed"], start=self.global_step,
            rank=self.trainer.global_rank, world_size=self.trainer.world_size, flip=settings.flip,
        )  # fmt: skip
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.zeros(1)))  # `evaluate` makes its own batches

    # The optimiser ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        s = self.training_settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        shared: dict[str, Any] = {"lr": s.learning_rate, "betas": s.betas, "weight_decay": s.weight_decay}
        if s.optimizer == "adamax":
            return torch.optim.Adamax(parameters, foreach=True, **shared)
        return (torch.optim.AdamW if s.optimizer == "adamw" else torch.optim.Adam)(parameters, fused=True, **shared)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        limit = self.training_settings.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if limit is None else limit)
        if not bool(torch.isfinite(norm)):
            self._diverged("gradient", None)

    def _diverged(self, what: str, layer: str | None) -> None:
        where = f", first in the output of {layer}" if layer else ""
        kept = f"The last good checkpoint is {self.path}. " if self.path.exists() else ""
        raise DivergedError(
            f"The {what} is not finite at step {self.global_step}{where}. {kept}"
            f"Lower training.learning_rate, add training.warmup_steps, or clip with training.gradient_clip."
        )

    # The run ---------------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        if self.global_step == 0:
            first = self.images.train[: self.training_settings.initial_images].to(self.device)
            self.model.initialize(first)
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if "cuda" in self._random_state and self.device.type == "cuda":
                torch.cuda.set_rng_state(self._random_state["cuda"], self.device)
        self._clock = time.perf_counter() - self.seconds

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.seconds = time.perf_counter() - self._clock
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.training_settings.learning_rate * learning_rate_factor(
                self.training_settings, self.global_step, self.seconds
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds = time.perf_counter() - self._clock
        if self.global_step % 10 == 0 or self.global_step == self.training_settings.steps:
            mean = torch.stack(self._recent).mean().item()
            self.curve["train"].append([self.global_step, self.seconds, mean])
            self._recent.clear()
        minutes = self.training_settings.minutes
        if minutes is not None and self.seconds >= 60 * minutes:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        random_state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state(self.device)
        run = {"curve": self.curve, "seconds": self.seconds, "random_state": random_state}
        checkpoint[KEY] = {**self.about, **run}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        run = checkpoint[KEY]
        self.curve, self.seconds, self._random_state = run["curve"], run["seconds"], run["random_state"]


class _Checkpoints(Callback):
    """Save after each validation, at the end, and when the user interrupts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, KeyboardInterrupt):
            trainer.save_checkpoint(self.path)


def learning_rate_factor(training: Training, step: int, seconds: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then the decay over the budget nearer its end."""
    warm = min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps else 1.0
    if training.decay == "constant":
        return warm
    spent = step / training.steps
    if training.minutes is not None:
        spent = max(spent, seconds / (60 * training.minutes))
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))


def check_writable(folder: Path) -> None:
    """Make a folder, and make sure that a file can be written into it.

    Raises:
        OSError: If not, before anything else is done.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OSError(f"The output folder {folder} cannot be written: {error.strerror}. Choose another with --out.") from error


def _same_run(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Make sure that a checkpoint continues this run; budgets alone may differ."""
    free = {"steps", "minutes", "validate_every"}
    differences = [key for key in ("shape", "levels", "data", "seed") if found[key] != wanted[key]]
    old, new = found["recipe"], wanted["recipe"]
    differences += [f"model.{k}" for k in sorted({*old["model"], *new["model"]}) if old["model"].get(k) != new["model"].get(k)]
    differences += [f"training.{k}" for k in new["training"] if k not in free and old["training"].get(k) != new["training"][k]]
    if differences:
        raise ValueError(
            f"{path} is the checkpoint of another run: {', '.join(differences)} differ. "
            f"Resume with the same recipe, data and seed, or choose another folder."
        )


