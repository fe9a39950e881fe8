"""A held-out part is a partition."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_exact.data.split import Split


@given(total=st.integers(2, 60), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**40))
def test_hold_out_is_a_partition(total, fraction, seed):
    images = torch.arange(total, dtype=torch.uint8).view(-1, 1, 1, 1)
    rest, held = Split(images, images.view(-1).long()).hold_out(fraction, seed)
    assert sorted([*rest.labels.tolist(), *held.labels.tolist()]) == list(range(total))
    assert torch.equal(held.images.view(-1).long(), held.labels)
    assert len(held.labels) == min(max(round(fraction * total), 1), total - 1)
