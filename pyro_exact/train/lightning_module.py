"""The training step, the optimiser and the validation of a run, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as lightning
import numpy as np
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_exact.data.batches import Batch
from pyro_exact.data.shuffle import order_of
from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.models import GenerativeModel
from pyro_exact.noise import SharedNoise
from pyro_exact.recipes import Elbo
from pyro_exact.train.checkpoint import KEY
from pyro_exact.train.data_module import split_batch
from pyro_exact.train.device import CLOCKS
from pyro_exact.train.divergence import DivergedError, NotFiniteError, all_finite, first_non_finite
from pyro_exact.train.evaluate import evaluate
from pyro_exact.train.run_record import RunRecord
from pyro_exact.train.saving import Checkpoints

# Streams of random numbers; streams 0 and 1 are the order and the flips of `Batches`.
_NOISE, _INITIAL = 2, 3

Look = Callable[[GenerativeModel, RunRecord], object]


class TrainingModule(lightning.LightningModule):
    """The loss, the optimiser and the budget of a run.

    Args:
        model: The model to train.
        run: The record of the run. During training only this module changes it; callbacks read it.
        last: Path of the last checkpoint, used in the error of a run that diverges.
        processes: Processes that share a batch.
        rows: Rows of the training data.
        checkpoints: Optional; saves between validations.
        look: Optional function that the first process calls after each validation, with the model
            that was scored and the record.
    """

    def __init__(
        self,
        model: GenerativeModel,
        run: RunRecord,
        last: Path,
        processes: int = 1,
        rows: int = 1,
        checkpoints: Checkpoints | None = None,
        look: Look | None = None,
    ) -> None:
        super().__init__()
        self.model, self.run = model, run
        self.last, self.processes, self.rows = last, processes, rows
        self.checkpoints, self.look = checkpoints, look
        self.settings = run.training
        self.elbo = training_elbo(self.settings.elbo)
        self.asked_to_stop = self.stopped = False

        self._part, self._losses = 0, list[Tensor]()  # the part of a batch; losses of its parts
        self._now = CLOCKS[run.clock]

    # The loss
    # ----------------------------------------------------------------------------------------------

    def mean_loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch in the unit of the run, differentiable.

        The noise is a function of the seed, the step and the position in the batch.
        """
        _seed(self.run.seed, _NOISE, self.global_step)
        if isinstance(self.elbo, AnnealedELBO):
            self.elbo.step = self.global_step

        x, condition = split_batch(batch)
        model = self.model if condition is None else self.model.condition(condition)
        with self._noise_of(x):
            nats = model.loss(x, self.elbo, self.rows)
        return nats / (len(x) * self.run.nats_of_unit)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if len(self._losses) == self.settings.accumulate:
            self._losses.clear()

        self._part = len(self._losses)
        loss = self.mean_loss(batch)
        self._losses.append(loss.detach())
        several = len(self._losses) > 1
        self.loss = torch.stack(self._losses).mean() if several else self._losses[0]
        self._batch = batch
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        # Activations that are computed again in the backward pass may draw their noise again.
        x, _ = split_batch(self._batch)
        with self._noise_of(x):
            loss.backward(*args, **kwargs)

    def _noise_of(self, x: Tensor) -> AbstractContextManager[object]:
        """Return the noise of this share of the batch: of a rank, and of a part in this rank."""
        shares = self.processes * self.settings.accumulate
        if shares == 1:
            return nullcontext()
        return SharedNoise(self._part * self.processes + self.global_rank, shares, len(x))

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

        fused = self.device.type != "mps"
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(parameters, fused=fused, **shared)
        return torch.optim.Adam(parameters, fused=fused, **shared)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        factor = self.settings.learning_rate_factor(self.global_step, self.run.seconds)
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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self.stopped and self.global_step % self.settings.validate_every:
            return  # the user waits, and a resumed run validates at the next multiple

        x, condition = split_batch(batch)
        try:
            score = evaluate(
                self.model,
                x,
                batch_size=self.settings.batch_size,
                labels=condition,
                shared=True,
            )
        except NotFiniteError as error:
            self._diverged("validation loss", error.culprit)

        loss = score.in_unit(self.run.unit)
        self.run.add_validation(self.global_step, loss)
        shown = self.run.reported(loss)
        self.log(
            f"valid {self.run.reported_unit}",
            shown,
            prog_bar=True,
            logger=False,
            rank_zero_only=True,
            batch_size=1,
        )
        self._log({"valid": shown})

        if self.run.is_stuck():
            self.trainer.should_stop = True
        if self.look is not None and self.trainer.is_global_zero:
            self.look(self.model, self.run)

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
            layer = first_non_finite(self.model, lambda: self.mean_loss(self._batch))
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
        if self.global_step == 0 and self.settings.initial_images:
            self._initialize()
        self._check_budget()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if len(self._losses) < self.settings.accumulate:
            return  # the optimiser has not stepped yet

        loss = self.trainer.strategy.reduce(self.loss.clone(), reduce_op="mean").item()
        mean = self.run.add_step(self.global_step, loss)
        if mean is not None:
            self._log({"train": self.run.reported(mean)})
        self._check_budget()
        if self.checkpoints is not None:
            self.checkpoints.save_when_due(self.trainer, self.run)

    def stop(self) -> None:
        """End the run after this step; safe to call from a signal handler."""
        self.asked_to_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.run.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.run.continue_from(RunRecord.from_dict(checkpoint[KEY], "the checkpoint"))

    def _log(self, losses: Mapping[str, float]) -> None:
        """Send losses to the loggers of Lightning, in the unit that is reported."""
        unit = self.run.reported_unit
        metrics = {f"{name} {unit}": loss for name, loss in losses.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics, self.global_step)

    def _initialize(self) -> None:
        """Initialise the model from some training rows, the same on all ranks."""
        trainer: Any = self.trainer
        batches = trainer.datamodule.batches
        _seed(self.run.seed, _INITIAL)
        total = len(batches.rows)
        order = order_of(total, torch.default_generator, self.run.seed, _INITIAL)
        index = order[torch.arange(min(self.settings.initial_images, total))]

        model = self.model
        if batches.conditions is not None:
            model = model.condition(batches.conditions[index].to(self.device))
        model.initialize(batches.rows[index].to(self.device))

    def _check_budget(self) -> None:
        """End the run when the budget is used, without progress, or if a process must stop."""
        # The clock of the first rank counts for all.
        strategy = self.trainer.strategy
        self.run.seconds = strategy.broadcast(self._now() - self._started)
        self.stopped = strategy.reduce_boolean_decision(self.asked_to_stop, all=False)

        used = self.settings.budget_fraction(self.global_step, self.run.seconds)
        if self.stopped or used >= 1 or self.run.is_stuck():
            self.trainer.should_stop = True


def training_elbo(settings: Elbo) -> Trace_ELBO:
    """Return the ELBO for the settings of a recipe: annealed, with free bits, or plain."""
    if settings.anneal is not None:
        return AnnealedELBO(settings.anneal, settings.start, settings.steps)
    if settings.free_nats:
        return FreeBitsELBO(settings.free_nats, settings.per)
    return Trace_ELBO()


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
