"""Elements that are not finite are found."""

import math

import pytest
import torch

from pyro_exact.train.divergence import all_finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_not_finite_elements_are_found_among_tensors_of_any_precision(bad, dtype):
    tensors = [torch.full((2, 3), 1e30), torch.zeros(0), torch.ones(3, 4, dtype=dtype).T]
    before = [tensor.clone() for tensor in tensors]
    assert all_finite(tensors)
    assert all(map(torch.equal, tensors, before))
    tensors[2][3, 1] = bad
    assert not all_finite(tensors)
