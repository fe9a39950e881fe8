"""Logit at the ends of its support, and far out."""

import math

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.transforms import (
    Logit,
)

pytestmark = pytest.mark.usefixtures("double")

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@pytest.mark.parametrize("levels", [1, 2, 256])
@pytest.mark.parametrize("margin", [0, 1e-6, 0.05])
def test_logit_next_to_the_last_level_keeps_its_digits(levels, margin):
    """Where 1 - p is small, in float32 it is what it is in float64."""
    layer = Logit(levels, margin, event_dim=0)
    last = torch.tensor(float(levels), dtype=torch.float32).nextafter(
        torch.tensor(0.0, dtype=torch.float32)
    )
    for x in (
        last,
        levels - 4 * (levels - last),
        levels * torch.tensor(0.999, dtype=torch.float32),
    ):
        assert_close(
            layer.forward_and_ladj(x),
            layer.forward_and_ladj(x.double()),
            check_dtype=False,
            rtol=4e-7,
            atol=0,
        )


@dtypes
@pytest.mark.parametrize("levels", [1, 2, 256])
def test_logit_at_the_ends_of_its_support(levels, dtype):
    """With a margin both ends are ordinary numbers; without one they lie at infinity."""
    tiny, eps = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    ends = torch.tensor(
        [0.0, tiny, eps, levels * (1 - eps), levels], dtype=dtype, requires_grad=True
    )
    layer = Logit(levels, margin=0.05, event_dim=0)
    y, ladj = layer.forward_and_ladj(ends)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(back, ends, rtol=0, atol=8 * levels * eps)
    assert_close(ladj_back, -ladj, rtol=0, atol=64 * eps)
    (gradient,) = torch.autograd.grad((y + ladj + back + ladj_back).sum(), ends)
    assert gradient.isfinite().all()

    open_end = Logit(levels, margin=0, event_dim=0)
    y, ladj = open_end.forward_and_ladj(ends)
    assert y.isinf().tolist() == ladj.isinf().tolist() == [True, False, False, False, True]
    assert_close(open_end.inverse_and_ladj(y)[0], ends, rtol=64 * eps, atol=levels * eps)


@dtypes
@pytest.mark.parametrize("margin", [0, 0.05])
def test_logit_inverse_far_out(margin, dtype):
    """The level rounds to one of the ends, but its ladj, taken from y, is exact."""
    layer = Logit(4, margin, event_dim=0)
    y = torch.tensor([-1e4, -60.0, 0.0, 60.0, 1e4], dtype=dtype, requires_grad=True)
    x, ladj = layer.inverse_and_ladj(y)
    low, high = layer.inverse_and_ladj(torch.tensor([-torch.inf, torch.inf], dtype=dtype))[0]
    assert x.tolist()[::4] == [low, high]
    expected = torch.nn.functional.logsigmoid(y.double()) + torch.nn.functional.logsigmoid(
        -y.double()
    )
    assert_close(ladj.double(), expected - math.log((1 - 2 * margin) / 4), rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(ladj.sum(), y)
    assert_close(gradient, torch.tensor([1.0, 1.0, 0.0, -1.0, -1.0], dtype=dtype))
