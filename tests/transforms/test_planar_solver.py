"""The scalar equation of the inverse of Planar and Radial."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from pyro_exact.transforms.planar_solver import derivative, solve

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_root_is_as_exact_as_its_arguments_for_any_stretch_and_target(dtype):
    near = torch.logspace(-12, -0.01, 60)
    stretch = torch.cat([torch.logspace(-30, 12, 300), 1 - near, 1 + near, 1 + near * 1e3])[:, None]
    spread = 1 + torch.randn(len(stretch), 300) * torch.logspace(-8, 0, 300)
    target = torch.cat(
        [torch.logspace(-30, 12, 300).expand(len(stretch), -1), (stretch - 1).abs() * spread.abs()],
        1,
    )
    stretch, target = stretch.to(dtype), target.to(dtype)
    a = solve(stretch, target)
    assert_close(solve(stretch, -target), -a, rtol=0, atol=0)

    # The error of the root, from its residual in extended precision, in units of what rounding
    # moves it by.
    s, t, x = (v.double().numpy().astype(np.longdouble) for v in (stretch, target, a))
    tanh = np.tanh(x)
    series = sum(
        c * x**n
        for n, c in ((3, 1 / 3), (5, -2 / 15), (7, 17 / 315), (9, -62 / 2835), (11, 1382 / 155925))
    )
    rest = np.where(x < 0.03, series, x - tanh)
    derivative = tanh**2 + s / np.cosh(np.minimum(x, 1e3)) ** 2
    rounding = torch.finfo(dtype).eps * (x + (s * tanh + t) / derivative)
    error = abs(s * tanh + rest - t) / derivative / rounding
    normal = torch.as_tensor(target / stretch > 1e3 * torch.finfo(dtype).tiny).numpy()
    assert error[normal].max() < 8


def test_root_at_the_ends():
    tiny = torch.finfo(torch.float64).tiny
    stretch = torch.tensor([tiny, 1e-3, 1.0, 5.0, 1e20])
    assert solve(stretch, torch.zeros(5)).count_nonzero() == 0
    assert_close(
        solve(stretch[:4], torch.full((4,), 1e4)),
        torch.tensor([1e4 + 1, 1e4 + 0.999, 1e4, 1e4 - 4]),
    )


def test_root_derivatives_are_exact_to_third_order():
    stretch, target = (
        torch.tensor([0.2, 1.0, 3.0]).requires_grad_(),
        torch.tensor([0.3, -2.0, 4.0]).requires_grad_(),
    )
    assert gradcheck(solve, (stretch, target))
    assert gradgradcheck(solve, (stretch, target))

    def second(target):
        (first,) = torch.autograd.grad(solve(stretch, target).sum(), target, create_graph=True)
        return torch.autograd.grad(first.sum(), target, create_graph=True)[0]

    assert gradcheck(second, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_root_slope_keeps_its_tail_and_never_cancels(dtype):
    a = torch.tensor([0.0, 1e-5, 0.5, 5.0, 15.0, 100.0])[:, None]
    stretch = torch.logspace(-30, 12, 50)[None]
    expected = a.tanh().square() + stretch / a.cosh().square()
    found = derivative(a.to(dtype), a.to(dtype).tanh(), stretch.to(dtype))
    assert_close(found.double(), expected, rtol=20 * torch.finfo(dtype).eps, atol=0)
