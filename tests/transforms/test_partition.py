"""Partitions are undone by join and cover the event."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import PARTITIONS, Case

from pyro_exact import transforms

pytestmark = pytest.mark.usefixtures("double")


def make(case: Case, context_dim: int | None):
    torch.manual_seed(0)
    return case.make(context_dim)


def first_words(registry):
    return {name.split()[0] for name in registry}


@given(data=st.data())
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", sorted(first_words(PARTITIONS)))
def test_partition_is_undone_by_join(name, data):
    partition = getattr(transforms, name)(
        data.draw(st.integers(1, 9)), swap=data.draw(st.booleans())
    )
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    x = torch.randn(*batch, partition.size, *[2] * (partition.event_dim - 1))
    fixed, free = partition.split(x)
    axis = x.dim() - partition.event_dim
    assert (fixed.shape[axis], free.shape[axis]) == (partition.fixed_size, partition.free_size)
    assert fixed.numel() + free.numel() == x.numel()
    assert torch.equal(partition.join(fixed, free), x)


@pytest.mark.parametrize("make", PARTITIONS.values(), ids=list(PARTITIONS))
def test_partitions_of_the_registry_cover_the_event(make):
    partition = make()
    shape = (partition.size, *[2] * (partition.event_dim - 1))
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    parts = torch.cat([part.flatten() for part in partition.split(x)])
    assert parts.sort().values.tolist() == list(range(x.numel()))
