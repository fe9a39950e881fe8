"""Splines at their knots and outside."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.transforms import (
    Spline,
)

pytestmark = pytest.mark.usefixtures("double")

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@dtypes
def test_spline_is_exact_at_its_knots_and_outside(dtype):
    formula = Spline(6, bound=2.0)
    theta = (3 * torch.randn(50, 17)).to(dtype)
    xs, ys, derivatives = formula._knots(theta)
    wide = theta.unsqueeze(1).expand(50, 7, 17)
    y, ladj = formula.forward_and_ladj(xs, wide)
    assert torch.equal(y, ys)
    assert_close(ladj, derivatives.log(), rtol=1e-4, atol=1e-5)
    assert torch.equal(formula.inverse_and_ladj(ys, wide)[0], xs)
    assert xs[:, [0, -1]].tolist() == ys[:, [0, -1]].tolist() == [[-2, 2]] * 50
    for outside in (2.0, -2.0, 2.001, 1e4, -1e30):
        x = torch.full((50,), outside, dtype=dtype)
        for output, ladj in (
            formula.forward_and_ladj(x, theta),
            formula.inverse_and_ladj(x, theta),
        ):
            assert torch.equal(output, x)
            assert not ladj.any()


def test_spline_slope_is_continuous_everywhere():
    formula = Spline(6, bound=2.0)
    theta = torch.randn(20, 17)
    xs, _, _ = formula._knots(theta)
    wide = theta.unsqueeze(1).expand(20, 7, 17)
    below, above = (formula.forward_and_ladj(xs + step, wide) for step in (-1e-10, 1e-10))
    assert_close(below, above, rtol=0, atol=1e-6)


def test_spline_passes_the_gradient_of_what_lies_outside():
    x = torch.tensor([-5.0, 7.0], requires_grad=True)
    theta = torch.randn(2, 23, requires_grad=True)
    y, ladj = Spline().forward_and_ladj(x, theta)
    (y + ladj).sum().backward()
    assert x.grad.tolist() == [1, 1]
    assert not theta.grad.any()
