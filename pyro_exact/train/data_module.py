"""The data of a run in the form used by Lightning: training batches and validation images."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pyro_exact.data import Batches, Images
from pyro_exact.data.batches import Batch
from pyro_exact.data.dataset import Rows
from pyro_exact.data.views import selected, workers
from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import Training
from pyro_exact.train.labels import labels_for


class ImageDataModule(lightning.LightningDataModule):
    """Training batches from the current step on, and the validation images as a single batch.

    Args:
        batches: The training batches; this object sets their step and rank when training starts.
        valid: The validation images, or a pair of images and labels.
    """

    def __init__(self, batches: Batches, valid: Rows | tuple[Rows, Tensor]) -> None:
        super().__init__()
        self.batches, self.valid = batches, valid

    def train_dataloader(self) -> DataLoader[Any]:
        trainer: Any = self.trainer
        self.batches.start = trainer.global_step
        self.batches.rank = trainer.global_rank
        return DataLoader(self.batches, batch_size=None, num_workers=workers(self.batches.images))

    def val_dataloader(self) -> DataLoader[Any]:
        batches: Any = [self.valid]
        return DataLoader(batches, batch_size=None)  # `evaluate` makes batches of its own


def image_data_module(
    model: GenerativeModel, images: Images, training: Training, seed: int, processes: int
) -> ImageDataModule:
    """Return the data of a run.

    Args:
        model: The model to train; if it is class-conditional, batches have labels.
        images: The data set.
        training: Settings: the size of a batch, flips, and how many validation images are used.
        seed: Seed of the order of the images and of the flips.
        processes: Processes that share a batch.

    Raises:
        ValueError: If a batch cannot be divided among the processes, or is larger than the data.
    """
    batches = Batches(
        images.train,
        _batch_size_of_each(training.batch_size, processes),
        seed,
        world_size=processes,
        flip=training.flip,
        labels=labels_for(model, images, "train"),
    )

    index = validation_subset(images, training)
    labels = labels_for(model, images, "valid")
    valid = selected(images.valid, index, 0, len(index))
    return ImageDataModule(batches, valid if labels is None else (valid, labels[index]))


def validation_subset(images: Images, training: Training) -> Tensor:
    """Return the indices of the validation images that are scored during training.

    They are spread evenly over the split, because a split may be sorted by class.
    """
    total = len(images.valid)
    count = min(training.validate_on or total, total)
    return torch.linspace(0, total - 1, count, dtype=torch.float64).long()


def split_batch(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return the images of a batch, and the labels if it has any."""
    if isinstance(batch, (tuple, list)):  # a DataLoader turns pairs into lists
        images, labels = batch
        return images, labels
    return batch, None


def _batch_size_of_each(batch_size: int, processes: int) -> int:
    """Return how many images of a batch each process takes."""
    if processes < 1 or batch_size % processes:
        raise ValueError(
            f"training.batch_size expects a multiple of the number of processes (devices times "
            f"nodes), because they share a batch; got {batch_size} for {processes}. Change one of "
            f"the two."
        )
    return batch_size // processes
