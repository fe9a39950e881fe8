"""Training batches that a resumed run continues exactly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pyro_exact.checks import check_size, check_tensor
from pyro_exact.data.dataset import Rows
from pyro_exact.data.shuffle import Shuffle, order_of

Batch = Tensor | tuple[Tensor, Tensor]

# Streams of random numbers; the streams of `TrainingModule` follow these.
_ORDER, _FLIP = 0, 1

_LARGEST_SEED = 2**64 - 1
_LARGEST_STEP = 2**63 - 1


class Batches(IterableDataset[Batch]):
    """An endless source of training batches, in which batch t is a function of the seed and t.

    An epoch is a permutation of the images, cut into batches; images that do not fill a batch are
    left out of that epoch. Ranks share the permutation: the batches of all ranks at step t, in the
    order of the ranks, are the batch of one process with ``batch_size * world_size``. So a run
    that stops, and starts again with ``start``, gets the same batches as an uninterrupted run. In a
    `DataLoader`, use ``batch_size=None``; worker w of W computes the batches w, w + W, ..., which
    the loader yields in order, so that batches do not depend on the number of workers.

    For more than a million rows, the permutation is a `Shuffle`, which takes no memory.

    Args:
        images: Pixel levels.
        batch_size: Images in a batch, on each rank.
        seed: Seed of the order of the images and of the flips; not negative.
        start: Step of the first batch; it may be set until iteration begins.
        rank: Rank of this process, from 0 to ``world_size - 1``.
        world_size: How many processes train together.
        flip: If true, mirror each image left to right with probability 1/2.
        labels: Optional classes of the images; a batch is then a pair (images, labels).

    Shape:
        - images: (N, C, H, W); a batch is (B, C, H, W), of the same dtype.
        - labels: (N,); a batch has (B,).

    Raises:
        TypeError: If a size is not an integer, or images or labels are not a tensor.
        ValueError: If a size is out of range, ``batch_size * world_size`` is above N, or shapes do
            not fit.

    Example:
        >>> batches = Batches(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), batch_size=4, seed=0)
        >>> next(iter(batches)).shape, batches.steps_per_epoch
        (torch.Size([4, 1, 8, 8]), 2)
    """

    def __init__(
        self,
        images: Rows,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        *,
        flip: bool = False,
        labels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = check_size("Batches", "batch_size", batch_size)
        self.seed = check_size("Batches", "seed", seed, 0, _LARGEST_SEED)
        self.start = check_size("Batches", "start", start, 0, _LARGEST_STEP)
        self.world_size = check_size("Batches", "world_size", world_size)
        self.rank = check_size("Batches", "rank", rank, 0, self.world_size - 1)

        _check_tensors(images, labels, self.batch_size, self.world_size)
        self.images = images
        self.labels = labels
        self.flip = flip

        # The permutation of the last epoch that was used.
        self._epoch = -1
        self._order: Tensor | Shuffle = torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return len(self.images) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return map(self.batch, count(self.start + first, stride))

    def batch(self, step: int) -> Batch:
        """Return the batch of this rank at a step.

        Args:
            step: The step, from 0.

        Raises:
            ValueError: If ``step`` is negative.
        """
        step = check_size("Batches", "step", step, 0, _LARGEST_STEP)
        epoch, position = divmod(step, self.steps_per_epoch)
        begin = (position * self.world_size + self.rank) * self.batch_size
        index = self._permutation(epoch)[torch.arange(begin, begin + self.batch_size)]

        images = self.images[index]
        if self.flip:
            mirrored = self._mirrored(step).to(images.device)
            images = torch.where(mirrored, images.flip(-1), images)
        return images if self.labels is None else (images, self.labels[index])

    def _permutation(self, epoch: int) -> Tensor | Shuffle:
        if epoch != self._epoch:
            key = self.seed, _ORDER, epoch
            self._order = order_of(len(self.images), _generator(*key), *key)
            self._epoch = epoch
        return self._order

    def _mirrored(self, step: int) -> Tensor:
        """Return a mask of the images of this rank's batch that are mirrored, (B, 1, 1, 1)."""
        # Drawn for all ranks together, so that it does not depend on how many there are.
        total = self.batch_size * self.world_size
        mirrored = torch.rand(total, generator=_generator(self.seed, _FLIP, step)) < 0.5
        return mirrored.view(self.world_size, -1, 1, 1, 1)[self.rank]


def _generator(*key: int) -> torch.Generator:
    # torch keeps only the low 32 bits of a seed, and similar seeds start similar streams: so the
    # key is hashed first.
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return torch.Generator().manual_seed(seed)


def _check_tensors(images: Rows, labels: Tensor | None, batch_size: int, world_size: int) -> None:
    if len(images.shape) != 4:
        raise ValueError(
            f"Batches expects images of shape (N, C, H, W); got {tuple(images.shape)}. Reshape "
            f"them."
        )

    total = len(images)
    if batch_size * world_size > total:
        raise ValueError(
            f"Batches expects batch_size * world_size of at most {total}, the number of images; "
            f"got {batch_size} * {world_size}. Lower batch_size, or pass more images."
        )

    if labels is not None and tuple(check_tensor("Batches", "labels", labels).shape) != (total,):
        raise ValueError(
            f"Batches expects labels of shape ({total},), one an image; got {tuple(labels.shape)}. "
            "Pass the labels of these images."
        )
