"""Permutations that take no memory: one to one, well mixed, and the same wherever they are read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_exact.data import Batches
from pyro_exact.data.shuffle import MOST_STORED, Shuffle, order_of


@given(st.integers(1, 3000), st.integers(0, 2**40), st.integers(0, 5))
def test_shuffle_is_a_permutation(total, seed, epoch):
    order = Shuffle(total, seed, epoch)
    assert order[torch.arange(total)].sort().values.tolist() == [*range(total)]


def test_shuffle_reads_any_positions():
    order, positions = Shuffle(1000, 3), torch.tensor([[999, 0], [5, 5]])
    assert torch.equal(order[positions], order[torch.arange(1000)][positions])


def test_shuffle_differs_by_key():
    orders = [Shuffle(50, *key)[torch.arange(50)] for key in ((0, 0), (0, 1), (1, 0), (2**32, 0))]
    assert len({tuple(order.tolist()) for order in orders}) == 4


@pytest.mark.parametrize("total", [37, 64])
def test_shuffle_puts_each_row_anywhere(total):
    """Chi-squared tests of where a row goes, and of where its neighbour goes from there."""
    keys = 4000
    pairs = torch.stack([Shuffle(total, key)[torch.tensor([0, 1])] for key in range(keys)])
    for values, cells in (
        (pairs[:, 0], total),
        ((pairs[:, 1] - pairs[:, 0]) % total - 1, total - 1),
    ):
        counts = torch.bincount(values, minlength=cells).double()
        statistic = ((counts - keys / cells) ** 2 / (keys / cells)).sum()
        assert statistic < cells + 5 * (2 * cells) ** 0.5


def test_order_of_stores_small_permutations_alone():
    generator = torch.Generator().manual_seed(0)
    stored = order_of(20, generator, 7)
    assert torch.equal(stored, torch.randperm(20, generator=torch.Generator().manual_seed(0)))
    assert isinstance(order_of(MOST_STORED + 1, generator, 7), Shuffle)


class Billion:
    """Rows that are their numbers."""

    shape, dtype = (10**9, 1, 1, 1), torch.int64

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return index.view(-1, 1, 1, 1)


def test_batches_of_a_billion_rows_resume_and_share_like_small_ones():
    whole = Batches(Billion(), 6, seed=1)
    parts = [Batches(Billion(), 3, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    for step in (0, 3, 10**9 // 6 + 5):
        assert torch.equal(whole.batch(step), torch.cat([part.batch(step) for part in parts]))
    assert not torch.equal(whole.batch(0), whole.batch(whole.steps_per_epoch))
