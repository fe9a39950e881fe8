"""One training step, one look at the validation split, and the budget of a run."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as lightning
import numpy as np
import pyro
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, Images
from pyro_exact.data.batches import Batch
from pyro_exact.infer import AnnealedELBO
from pyro_exact.models import GenerativeModel
from pyro_exact.noise import SharedNoise
from pyro_exact.recipes import Training
from pyro_exact.train.checkpoint import KEY
from pyro_exact.train.device import CLOCKS
from pyro_exact.train.divergence import DivergedError, NotFiniteError, all_finite, first_non_finite
from pyro_exact.train.elbo import training_elbo
from pyro_exact.train.evaluate import evaluate, labels_for
from pyro_exact.train.run_record import CURVE_EVERY, RunRecord

# What a random number is for, beside the order and the flips of `Batches`, which are 0 and 1.
_NOISE, _INITIAL = 2, 3


class TrainingModule(lightning.LightningModule):
    """The loss, the optimiser and the budget of a run.

    Args:
        model: What is trained.
        run: What the checkpoints will say of the run; it is kept up to date.
        last: The checkpoint to name when the run diverges.
        processes: How many share a batch.
    """

    def __init__(
        self, model: GenerativeModel, run: RunRecord, last: Path, processes: int = 1
    ) -> None:
        super().__init__()
        self.model, self.run, self.last, self.processes = model, run, last, processes
        self.settings = run.recipe.training
        self.elbo = training_elbo(self.settings.elbo)
        self.asked_to_stop = self.stopped = False
        self._now = CLOCKS[run.clock]

    # The loss
    # --------------------------------------------------------------------------------------------------------

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """Return the differentiable loss of a batch; its noise is a function of the seed, the step and the place."""
        _seed(self.run.seed, _NOISE, self.global_step)
        if isinstance(self.elbo, AnnealedELBO):
            self.elbo.step = self.global_step
        x, label = _parts(batch)
        model, plate = (
            self.model if label is None else self.model.condition(label),
            pyro.plate("data", len(x)),
        )
        with self._noise_of(x):
            loss: Tensor = self.elbo.differentiable_loss(
                plate(model.generate), plate(model.infer), x
            )
        return loss / (x.numel() * math.log(2))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with self._noise_of(
            _parts(self._batch)[0]
        ):  # what is computed again in the backward pass may draw again
            loss.backward(*args, **kwargs)

    def _noise_of(self, x: Tensor) -> AbstractContextManager[object]:
        if self.processes == 1:
            return nullcontext()
        return SharedNoise(self.global_rank, self.processes, len(x))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.bits_per_dim(batch)
        self._batch, self.loss = batch, loss.detach()
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        parameters, limit = optimizer.param_groups[0]["params"], self.settings.gradient_clip
        finite = all_finite([self.loss, *(p.grad for p in parameters if p.grad is not None)])
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(parameters, limit)
        # Ranks decide together: one that stopped alone would leave the others waiting.
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            self._diverged("loss or its gradient", self._culprit())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self.stopped and self.global_step % self.settings.validate_every:
            return  # the user waits, and the run will look when it is resumed
        images, labels = _parts(batch)
        try:
            score = evaluate(self.model, images, batch_size=self.settings.batch_size, labels=labels)
        except NotFiniteError as error:
            self._diverged("validation loss", error.culprit)
        bits = self.trainer.strategy.broadcast(
            score.bits_per_dim
        )  # ranks pick the best by the same number
        self.run.curve["valid"].append([self.global_step, self.run.seconds, bits])
        self.log("valid bits/dim", bits, prog_bar=True, rank_zero_only=True, batch_size=1)

    def _diverged(self, what: str, culprit: str) -> NoReturn:
        kept = (
            f"The last good checkpoint, {self.last}, is kept."
            if self.last.exists()
            else "There is no checkpoint yet."
        )
        raise DivergedError(
            f"The {what} is not finite after {self.global_step} steps; first so is {culprit}. {kept} "
            f"Lower training.learning_rate, raise training.warmup_steps, or set training.gradient_clip.",
            culprit,
        )

    def _culprit(self) -> str:
        with self.trainer.precision_plugin.train_step_context():
            layer = first_non_finite(self.model, lambda: self.bits_per_dim(self._batch))
        if layer is not None:
            return f"the output of {layer}"
        gradients = (
            (name, p.grad) for name, p in self.model.named_parameters() if p.grad is not None
        )
        bad = [name for name, gradient in gradients if not bool(torch.isfinite(gradient).all())]
        return f"the gradient of {bad[-1]}" if bad else "nothing on this device"

    # The optimiser
    # ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        s = self.settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        shared: dict[str, Any] = {
            "lr": s.learning_rate,
            "betas": s.betas,
            "weight_decay": s.weight_decay,
        }
        if s.optimizer == "adamax":
            return torch.optim.Adamax(parameters, foreach=True, **shared)
        return (torch.optim.AdamW if s.optimizer == "adamw" else torch.optim.Adam)(
            parameters, fused=True, **shared
        )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        factor = learning_rate_factor(self.settings, self.global_step, self.run.seconds)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.learning_rate * factor

    # The run
    # ---------------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self._started = self._now() - self.run.seconds
        if self.global_step == 0:
            self._initialize()
        self._look_at_clock()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.run.step = self.global_step
        self.run.recent.append(
            self.trainer.strategy.reduce(self.loss.clone(), reduce_op="mean").item()
        )
        if self.run.step % CURVE_EVERY == 0:
            mean = sum(self.run.recent) / len(self.run.recent)
            self.run.curve["train"].append([self.run.step, self.run.seconds, mean])
            self.run.recent.clear()
        self._look_at_clock()

    def _initialize(self) -> None:
        """Initialise from some training images, on all ranks the same."""
        trainer: Any = self.trainer
        images = trainer.datamodule.images.train
        labels = labels_for(self.model, trainer.datamodule.images, "train")
        _seed(self.run.seed, _INITIAL)
        some = torch.randperm(len(images))[: self.settings.initial_images]
        model = self.model if labels is None else self.model.condition(labels[some].to(self.device))
        model.initialize(images[some].to(self.device))

    def stop(self) -> None:
        """Ask for an end after this step."""
        self.asked_to_stop = True

    def _look_at_clock(self) -> None:
        """End the run if its budget is spent, by the first process's clock, or if any was told to stop."""
        strategy = self.trainer.strategy
        self.run.seconds = strategy.broadcast(self._now() - self._started)
        self.stopped = strategy.reduce_boolean_decision(self.asked_to_stop, all=False)
        if self.stopped or budget_fraction(self.settings, self.global_step, self.run.seconds) >= 1:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.run.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        before = RunRecord.from_dict(checkpoint[KEY], "the checkpoint")
        self.run.step, self.run.seconds = before.step, before.seconds
        self.run.curve, self.run.recent = before.curve, before.recent


class Data(lightning.LightningDataModule):
    """Training batches from the step where the run is, and the validation images as one batch."""

    def __init__(self, images: Images, batches: Batches) -> None:
        super().__init__()
        self.images, self.batches = images, batches

    def train_dataloader(self) -> DataLoader[Any]:
        trainer: Any = self.trainer
        self.batches.start, self.batches.rank = trainer.global_step, trainer.global_rank
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        trainer: Any = self.trainer
        task = trainer.lightning_module
        some, labels = (
            validation_subset(self.images, task.settings),
            labels_for(task.model, self.images, "valid"),
        )
        images = self.images.valid[some]
        batches: Any = [images if labels is None else (images, labels[some])]
        return DataLoader(batches, batch_size=None)  # `evaluate` makes its own batches


def validation_subset(images: Images, training: Training) -> Tensor:
    """Return which validation images a look scores: spread evenly, for a split may be sorted by class."""
    count = len(images.valid)
    return torch.linspace(0, count - 1, min(training.validate_on or count, count)).long()


def budget_fraction(training: Training, step: int, seconds: float) -> float:
    """Return the part of the budget that is budget_fraction, of steps or of minutes, whichever is nearer its end."""
    return max(
        step / training.steps,
        0.0 if training.minutes is None else seconds / (60 * training.minutes),
    )


def learning_rate_factor(training: Training, step: int, seconds: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then the decay over the budget."""
    warm = min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps else 1.0
    if training.decay == "constant":
        return warm
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, budget_fraction(training, step, seconds))))


def _parts(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return the images of a batch, and their labels where it has them."""
    if isinstance(batch, Tensor):
        return batch, None
    images, labels = batch
    return images, labels


def _seed(*key: int) -> None:
    # A resumed run then needs no saved random state, validation cannot disturb it, and ranks
    # differ.
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    torch.default_generator.manual_seed(
        seed
    )  # torch.manual_seed would remember each call for devices not in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
