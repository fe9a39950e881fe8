"""Numbers as tensors."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.scalar import scalar


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scalar_is_the_number_in_the_type_of_the_tensor(dtype):
    x = torch.randn(3, dtype=dtype, requires_grad=True)
    y = x * scalar(1 / 3, x + 0)
    assert y.dtype == dtype
    assert_close(y, x * (1 / 3), rtol=0, atol=0)
    assert scalar(1 / 3, x + 0) is scalar(1 / 3, x + 0)


def test_scalar_made_within_a_transform_or_in_inference_mode_serves_outside():
    torch.func.grad(lambda x: (x * scalar(0.123, x)).sum())(torch.ones(3))
    with torch.inference_mode():
        scalar(0.125, torch.ones(3))
    for number in (0.123, 0.125):
        x = torch.ones(3, requires_grad=True)
        (gradient,) = torch.autograd.grad((x * scalar(number, x + 0)).sum(), x)
        assert_close(gradient, torch.full((3,), number))
