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

    An epoch is a permutation of the rows, cut into batches; rows that do not fill a batch are left
    out of that epoch. Ranks share the permutation: the batches of all ranks at step t, in the
    order of the ranks, are the batch of one process with ``batch_size * world_size``. So a run
    that stops, and starts again with ``start``, gets the same batches as an uninterrupted run. In a
    `DataLoader`, use ``batch_size=None``; worker w of W computes the batches w, w + W, ..., which
    the loader yields in order, so that batches do not depend on the number of workers. For more
    than a million rows, the permutation is a `Shuffle`, which takes no memory.

    Args:
        rows: The data: a tensor, or another `Rows`.
        batch_size: Rows in a batch, on each rank.
        seed: Seed of the order of the rows and of the flips; not negative.
        start: Step of the first batch; it may be set until iteration begins.
        rank: Rank of this process, from 0 to ``world_size - 1``.
        world_size: How many processes train together.
        flip: If true, mirror each image left to right with probability 1/2.
        conditions: Optional classes or contexts of the rows; a batch is then a pair.
        parts: Parts of a batch that each rank yields one after another, ``batch_size`` rows each;
            the ranks and parts at step t share the batch of that step.

    Shape:
        - rows: (N, *event_shape); a batch is (B, *event_shape), of the same dtype.
        - conditions: (N,) or (N, context_dim); a batch has B of these.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If a size is out of range, a whole batch is larger than N, ``flip`` is used for
            rows that are not images, or shapes do not fit.

    Example:
        >>> batches = Batches(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), batch_size=4, seed=0)
        >>> next(iter(batches)).shape, batches.steps_per_epoch
        (torch.Size([4, 1, 8, 8]), 2)
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        *,
        flip: bool = False,
        conditions: Tensor | None = None,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.batch_size = check_size("Batches", "batch_size", batch_size)
        self.seed = check_size("Batches", "seed", seed, 0, _LARGEST_SEED)
        self.start = check_size("Batches", "start", start, 0, _LARGEST_STEP)
        self.world_size = check_size("Batches", "world_size", world_size)
        self.rank = check_size("Batches", "rank", rank, 0, self.world_size - 1)

        self.parts = check_size("Batches", "parts", parts)

        self.rows, self.conditions = rows, conditions
        self.flip = flip
        self._check_rows()

        # The permutation of the last epoch that was used.
        self._epoch = -1
        self._order: Tensor | Shuffle = torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return len(self.rows) // self._whole

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)

        # The parts of all steps are one sequence, which the workers share.
        numbers = count(self.start * self.parts + first, stride)
        return (self.batch(*divmod(number, self.parts)) for number in numbers)

    def batch(self, step: int, part: int = 0) -> Batch:
        """Return the batch of this rank at a step, or a part of this batch.

        Args:
            step: The step, from 0.
            part: The part, from 0.

        Raises:
            ValueError: If ``step`` is negative.
        """
        step = check_size("Batches", "step", step, 0, _LARGEST_STEP)
        epoch, position = divmod(step, self.steps_per_epoch)
        share = part * self.world_size + self.rank
        begin = position * self._whole + share * self.batch_size
        index = self._permutation(epoch)[torch.arange(begin, begin + self.batch_size)]

        rows = self.rows[index]
        if self.flip:
            mirrored = self._mirrored(step, share).to(rows.device)
            rows = torch.where(mirrored, rows.flip(-1), rows)
        return rows if self.conditions is None else (rows, self.conditions[index])

    @property
    def _whole(self) -> int:
        """Rows of the batch of all ranks and parts."""
        return self.batch_size * self.world_size * self.parts

    def _permutation(self, epoch: int) -> Tensor | Shuffle:
        if epoch != self._epoch:
            key = self.seed, _ORDER, epoch
            self._order = order_of(len(self.rows), _generator(*key), *key)
            self._epoch = epoch
        return self._order

    def _mirrored(self, step: int, share: int) -> Tensor:
        """Return a mask of the images of a share of a batch that are mirrored, (B, 1, 1, 1)."""
        # Drawn for the whole batch, so that it does not depend on the number of shares.
        mirrored = torch.rand(self._whole, generator=_generator(self.seed, _FLIP, step)) < 0.5
        return mirrored.view(-1, self.batch_size, 1, 1, 1)[share]

    def _check_rows(self) -> None:
        total, conditions = len(self.rows), self.conditions
        if self.flip and len(self.rows.shape) != 4:
            raise ValueError(
                f"Batches expects images of shape (N, C, H, W) for flip; got "
                f"{tuple(self.rows.shape)}. Leave flip out."
            )
        if self._whole > total:
            shares = f" * {self.parts}" if self.parts > 1 else ""
            raise ValueError(
                f"Batches expects batch_size * world_size of at most {total}, the number of rows; "
                f"got {self.batch_size} * {self.world_size}{shares}. Lower batch_size, or pass "
                f"more rows."
            )
        if conditions is None:
            return

        if len(check_tensor("Batches", "conditions", conditions)) != total:
            raise ValueError(
                f"Batches expects {total} conditions, one for each row; got shape "
                f"{tuple(conditions.shape)}. Pass the conditions of these rows."
            )


def _generator(*key: int) -> torch.Generator:
    # torch keeps only the low 32 bits of a seed, and similar seeds start similar streams: so the
    # key is hashed first.
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return torch.Generator().manual_seed(seed)
