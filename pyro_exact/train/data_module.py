"""The data of a run in the form used by Lightning: training batches and validation rows."""

from __future__ import annotations

import signal
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, Dataset
from pyro_exact.data.batches import Batch
from pyro_exact.data.dataset import SPLITS, Rows
from pyro_exact.data.views import selected, workers
from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import Training


class DataModule(lightning.LightningDataModule):
    """Training batches from the current step on, and the validation rows as a single batch.

    Args:
        batches: The training batches; this object sets their step and rank when training starts.
        valid: The validation rows, or a pair of rows and conditions.
    """

    def __init__(self, batches: Batches, valid: Rows | tuple[Rows, Tensor]) -> None:
        super().__init__()
        self.batches, self.valid = batches, valid

    def train_dataloader(self) -> DataLoader[Any]:
        trainer: Any = self.trainer
        self.batches.start = trainer.global_step
        self.batches.rank = trainer.global_rank
        return DataLoader(
            self.batches,
            batch_size=None,
            num_workers=workers(self.batches.rows),
            worker_init_fn=ignore_interrupts,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        batches: Any = [self.valid]
        return DataLoader(batches, batch_size=None)  # `evaluate` makes batches of its own


def data_module(
    model: GenerativeModel, data: Dataset, training: Training, seed: int, processes: int
) -> DataModule:
    """Return the data of a run.

    Args:
        model: The model to train; if it is conditional, batches have labels or contexts.
        data: The data set.
        training: Settings: the size of a batch, flips, and how many validation rows are used.
        seed: Seed of the order of the rows and of the flips.
        processes: Processes that share a batch.

    Raises:
        ValueError: If a batch cannot be divided among the processes, or is larger than the data.
    """
    batches = Batches(
        data.split("train"),
        _rows_of_each(training, processes),
        seed,
        world_size=processes,
        flip=training.flip,
        conditions=labels_for(model, data, "train"),
        parts=training.accumulate,
    )

    index = validation_subset(data, training)
    conditions = labels_for(model, data, "valid")
    valid = selected(data.split("valid"), index, 0, len(index))
    return DataModule(batches, valid if conditions is None else (valid, conditions[index]))


def validation_subset(data: Dataset, training: Training) -> Tensor:
    """Return the indices of the validation rows that are scored during training.

    They are spread evenly over the split, because a split may be sorted by class.
    """
    total = len(data.split("valid"))
    count = min(training.validate_on or total, total)
    return torch.linspace(0, total - 1, count, dtype=torch.float64).long()


def ignore_interrupts(worker: int) -> None:
    """Leave the signals that end a run to the main process, which saves the run before it ends.

    A terminal and a job scheduler send these signals to the workers too.

    Args:
        worker: Number of the worker process, which calls this function.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def split_batch(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return the rows of a batch, and the labels or contexts if it has any."""
    if isinstance(batch, (tuple, list)):  # a DataLoader turns pairs into lists
        rows, conditions = batch
        return rows, conditions
    return batch, None


def labels_for(model: GenerativeModel, data: Dataset, split: str) -> Tensor | None:
    """Return what `GenerativeModel.condition` takes: classes or contexts, one for each row.

    Args:
        model: A model; ``classes`` and ``context_dim`` must be `None` if it is not conditional.
        data: A data set.
        split: ``"train"``, ``"valid"`` or ``"test"``.

    Returns:
        Classes (N,), real contexts (N, context_dim), or `None` for a model that is not conditional.

    Raises:
        ValueError: If the model is conditional, and the data have no classes or contexts, or some
            that do not fit the model.
    """
    owner = f"{data.name}, {split}"
    if model.context_dim is not None:
        return _contexts(data.context(split), model.context_dim, owner)
    if model.classes is not None:
        return _labels(data.labels(split), model.classes, owner)
    return None


def check_labels(model: GenerativeModel, data: Dataset) -> None:
    """Raise an error before a run if the classes or contexts of a split do not fit the model.

    The test split may lack them, because training does not use it.

    Raises:
        ValueError: As `labels_for`.
    """
    for split in SPLITS:
        given = data.labels if model.context_dim is None else data.context
        if split != "test" or given(split) is not None:
            labels_for(model, data, split)


def _labels(labels: Tensor | None, classes: int, owner: str) -> Tensor:
    """Return the classes of a split, or raise an error if they do not fit the model."""
    if labels is None:
        raise ValueError(
            f"{owner} expects a label for each row, for a model of {classes} classes; got "
            f"none. Choose data with labels, or a model without classes."
        )

    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"{owner} expects classes from 0 to {classes - 1}, as the model has them; got "
            f"labels from {lowest} to {highest}. Number the classes 0, 1, ..., or build the model "
            f"with more classes."
        )
    return labels


def _contexts(context: Tensor | None, context_dim: int, owner: str) -> Tensor:
    """Return the contexts of a split, or raise an error if they do not fit the model."""
    if context is None:
        raise ValueError(
            f"{owner} expects a context for each row, for a model with context_dim={context_dim}; "
            f"got none. Pass data with contexts, or use a model without a context."
        )

    if context.dim() != 2 or context.shape[1] != context_dim:
        raise ValueError(
            f"{owner} expects contexts of shape (N, {context_dim}), as the model takes them; got "
            f"{tuple(context.shape)}. Build the model for this context_dim."
        )
    if not bool(context.isfinite().all()):
        raise ValueError(
            f"{owner} expects finite contexts; got {int((~context.isfinite()).sum())} elements "
            f"that are NaN or infinite. Repair these rows, or leave them out."
        )
    return context


def _rows_of_each(training: Training, processes: int) -> int:
    """Return how many rows of a batch each process takes at a time."""
    batch_size, parts = training.batch_size, processes * training.accumulate
    if batch_size % parts:
        shares = f" times training.accumulate = {training.accumulate}" * (training.accumulate > 1)
        raise ValueError(
            f"training.batch_size expects a multiple of the number of processes (devices times "
            f"nodes){shares}, because they share a batch; got {batch_size} for {parts}. Change one "
            f"of the two."
        )
    return batch_size // parts
