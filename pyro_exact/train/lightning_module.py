"""The training step, the optimiser and the validation of a run, as a Lightning module."""

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

from pyro_exact.data.batches import Batch
from pyro_exact.data.shuffle import order_of
from pyro_exact.infer import AnnealedELBO
from pyro_exact.models import GenerativeModel
from pyro_exact.noise import SharedNoise
from pyro_exact.train.budget import budget_fraction, learning_rate_factor
from pyro_exact.train.checkpoint import KEY
from pyro_exact.train.data_module import split_batch
from pyro_exact.train.device import CLOCKS
from pyro_exact.train.divergence import DivergedError, NotFiniteError, all_finite, first_non_finite
from pyro_exact.train.elbo import training_elbo
from pyro_exact.train.evaluate import evaluate
from pyro_exact.train.run_record import RunRecord

# Streams of random numbers; streams 0 and 1 are the order and the flips of `Batches`.
_NOISE, _INITIAL = 2, 3


class TrainingModule(lightning.LightningModule):
    """The loss, the optimiser and the budget of a run.

    Args:
        model: The model to train.
        run: The record of the run. During training only this module changes it; callbacks read it.
        last: Path of the last checkpoint, used in the error of a run that diverges.
        processes: Processes that share a batch.
    """

    def __init__(
        self, model: GenerativeModel, run: RunRecord, last: Path, processes: int = 1
    ) -> None:
        super().__init__()
        self.model, self.run = model, run
        self.last, self.processes = last, processes
        self.settings = run.recipe.training
        self.elbo = training_elbo(self.settings.elbo)
        self.asked_to_stop = self.stopped = False
        self._now = CLOCKS[run.clock]

    # The loss
    # ----------------------------------------------------------------------------------------------

    def bits_per_dim(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, differentiable.

        The noise is a function of the seed, the step and the position in the batch.
        """
        _seed(self.run.seed, _NOISE, self.global_step)
        if isinstance(self.elbo, AnnealedELBO):
            self.elbo.step = self.global_step

        x, label = split_batch(batch)
        model = self.model if label is None else self.model.condition(label)
        plate = pyro.plate("data", len(x))

        # The negative ELBO: log q(z | x) - log p(x, z), with z from the guide q.
        with self._noise_of(x):
            nats: Tensor = self.elbo.differentiable_loss(
                plate(model.generate), plate(model.infer), x
            )
        return nats / (x.numel() * math.log(2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.bits_per_dim(batch)
        self._batch, self.loss = batch, loss.detach()
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        # Activations that are computed again in the backward pass may draw their noise again.
        x, _ = split_batch(self._batch)
        with self._noise_of(x):
            loss.backward(*args, **kwargs)

    def _noise_of(self, x: Tensor) -> AbstractContextManager[object]:
        if self.processes == 1:
            return nullcontext()
        return SharedNoise(self.global_rank, self.processes, len(x))

    # The optimiser
    # ----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        shared: dict[str, Any] = {
            "lr": settings.learning_rate,
            "betas": settings.betas,
            "weight_decay": settings.weight_decay,
        }

        if settings.optimizer == "adamax":
            return torch.optim.Adamax(parameters, foreach=True, **shared)
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(parameters, fused=True, **shared)
        return torch.optim.Adam(parameters, fused=True, **shared)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        factor = learning_rate_factor(self.settings, self.global_step, self.run.seconds)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.learning_rate * factor

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient, and end the run if the loss or the gradient is not finite."""
        parameters, limit = optimizer.param_groups[0]["params"], self.settings.gradient_clip
        gradients = [p.grad for p in parameters if p.grad is not None]

        # Checked before clipping, which would spread a NaN to all gradients.
        finite = all_finite([self.loss, *gradients])
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(parameters, limit)

        # Ranks decide together, because a rank that stopped alone would leave the rest waiting.
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            self._diverged("loss or its gradient", self._culprit())

    # Validation
    # ----------------------------------------------------------------------------------------------

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.stopped and self.global_step % self.settings.validate_every:
            return  # the user waits, and a resumed run validates at the next multiple

        images, labels = split_batch(batch)
        try:
            score = evaluate(self.model, images, batch_size=self.settings.batch_size, labels=labels)
        except NotFiniteError as error:
            self._diverged("validation loss", error.culprit)

        # All ranks use the score of the first, so that they agree on the best checkpoint.
        bits = self.trainer.strategy.broadcast(score.bits_per_dim)
        self.run.add_validation(self.global_step, bits)
        self.log("valid bits/dim", bits, prog_bar=True, rank_zero_only=True, batch_size=1)

    def _diverged(self, subject: str, culprit: str) -> NoReturn:
        kept = "There is no checkpoint yet."
        if self.last.exists():
            kept = f"The last good checkpoint, {self.last}, is kept."
        raise DivergedError(
            f"The {subject} is not finite after {self.global_step} steps; first so is {culprit}. "
            f"{kept} Lower training.learning_rate, raise training.warmup_steps, or set "
            f"training.gradient_clip. The causes are in docs/nan.md.",
            culprit,
        )

    def _culprit(self) -> str:
        """Return the layer or the gradient that first was not finite in this step."""
        with self.trainer.precision_plugin.train_step_context():
            layer = first_non_finite(self.model, lambda: self.bits_per_dim(self._batch))
        if layer is not None:
            return f"the output of {layer}"

        # The backward pass visits the weights from last to first.
        for name, p in reversed([*self.model.named_parameters()]):
            if p.grad is not None and not bool(torch.isfinite(p.grad).all()):
                return f"the gradient of {name}"
        return "nothing on this device"

    # Start, end and checkpoints of the run
    # ----------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self._started = self._now() - self.run.seconds
        if self.global_step == 0:
            self._initialize()
        self._check_budget()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = self.trainer.strategy.reduce(self.loss.clone(), reduce_op="mean").item()
        self.run.add_step(self.global_step, loss)
        self._check_budget()

    def stop(self) -> None:
        """End the run after this step; safe to call from a signal handler."""
        self.asked_to_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.run.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.run.continue_from(RunRecord.from_dict(checkpoint[KEY], "the checkpoint"))

    def _initialize(self) -> None:
        """Initialise the model from some training images, the same on all ranks."""
        trainer: Any = self.trainer
        batches = trainer.datamodule.batches
        _seed(self.run.seed, _INITIAL)
        total = len(batches.images)
        order = order_of(total, torch.default_generator, self.run.seed, _INITIAL)
        index = order[torch.arange(min(self.settings.initial_images, total))]

        model = self.model
        if batches.labels is not None:
            model = model.condition(batches.labels[index].to(self.device))
        model.initialize(batches.images[index].to(self.device))

    def _check_budget(self) -> None:
        """End the run when the budget is used, or if a process was told to stop."""
        # The clock of the first rank counts for all.
        strategy = self.trainer.strategy
        self.run.seconds = strategy.broadcast(self._now() - self._started)
        self.stopped = strategy.reduce_boolean_decision(self.asked_to_stop, all=False)

        used = budget_fraction(self.settings, self.global_step, self.run.seconds)
        if self.stopped or used >= 1:
            self.trainer.should_stop = True


def _seed(*key: int) -> None:
    """Seed torch using a hash of some integers.

    When each step uses another seed, a resumed run needs no saved random state, and validation
    cannot change the noise of training.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])

    # `torch.manual_seed` would also queue a call for each device that is not in use yet.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
