"""The guarded Newton iteration: hard functions, brackets of all kinds, and derivatives of the root."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from pyro_exact.ops import newton

pytestmark = pytest.mark.usefixtures("double")


def line(x):
    return 2 * x + 1, torch.full_like(x, math.log(2))


def cube(x):
    """Flat at 0, up to rounding."""
    return x**3 + 1e-12 * x, (3 * x**2 + 1e-12).log()


def exponential(x):
    """Along it Newton's steps are of size 1."""
    return x.exp(), x


def bend(x):
    """A slope of 1e-6 to the left, and of 1e6 to the right."""
    value = torch.where(x < 0, 1e-6 * x, 1e6 * x)
    return value, x.sign() * math.log(1e6)


def step(x):
    """Like a step, where Newton's steps overshoot."""
    return (50 * x).tanh() + 1e-3 * x, ((50 * x).cosh() ** -2 * 50 + 1e-3).log()


FUNCTIONS = {f.__name__: f for f in (line, cube, exponential, bend, step)}
BRACKETS = {
    "closed": lambda x: (x - 1, x + 3),
    "open": lambda x: (torch.full_like(x, -math.inf), torch.full_like(x, math.inf)),
    "open above": lambda x: (x - 0.5, torch.full_like(x, math.inf)),
    "open below": lambda x: (torch.full_like(x, -math.inf), x + 0.5),
    "from the root": lambda x: (x, x + 1),
}


@pytest.mark.parametrize("bracket", BRACKETS.values(), ids=list(BRACKETS))
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_solve_finds_the_root_of_hard_functions(function, bracket, dtype):
    x = torch.tensor([-60.0, -1.5, -1e-3, 0.0, 0.2, 4.0, 70.0], dtype=dtype)
    target = function(x)[0]
    low, high = bracket(x)
    start = torch.zeros_like(x).clamp(low, high)
    found, log_slope = newton.solve(function, target, (), (low, high), start)

    again, slope = function(found)
    rounding = 16 * torch.finfo(dtype).eps * (1 + target.abs() + found.abs() * slope.exp())
    assert ((again - target).abs() <= rounding).all()
    assert found.dtype == log_slope.dtype == dtype


def test_solve_treats_each_element_as_it_does_alone():
    target, p = torch.randn(40), torch.randn(40, 3)

    def function(x, p):
        return x + (x.unsqueeze(-1) * p).sin().sum(-1) / 4, _log_slope(x, p)

    ends = torch.full((40,), -9.0), torch.full((40,), 9.0)
    together, _ = newton.solve(function, target, (p,), ends, torch.zeros(40))
    alone = [
        newton.solve(function, target[i : i + 1], (p[i : i + 1],), (ends[0][:1], ends[1][:1]), z)[0]
        for i, z in enumerate(torch.zeros(40, 1))
    ]
    assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def _log_slope(x, p):
    return (1 + ((x.unsqueeze(-1) * p).cos() * p).sum(-1) / 4).clamp(min=1e-3).log()


def softplus_line(x, a, b):
    z = x * a.exp() + b
    return z + z.exp(), a + z.exp().log1p()


def test_root_has_its_first_and_second_derivatives():
    target, a, b = (torch.randn(2, 3).requires_grad_() for _ in range(3))

    def inverse(target, a, b):
        ends = torch.full((2, 3), -math.inf), torch.full((2, 3), math.inf)
        return newton.root(softplus_line, target, (a, b), ends, torch.zeros(2, 3))

    assert gradcheck(inverse, (target, a, b))
    assert gradgradcheck(inverse, (target, a, b))


def test_root_has_the_gradient_of_a_weight_that_the_function_holds():
    weight = torch.tensor(0.5, requires_grad=True)
    ends = torch.tensor([-math.inf]), torch.tensor([math.inf])
    x, log_slope = newton.root(
        lambda x: (weight * x, weight.log().expand(1)),
        torch.tensor([3.0]),
        (),
        ends,
        torch.zeros(1),
    )
    (gradient,) = torch.autograd.grad(x.sum() + log_slope.sum(), weight)  # -3 / w² + 1 / w
    assert_close((x, gradient), (torch.tensor([6.0]), torch.tensor(-10.0)))


def test_root_without_gradients_has_no_graph():
    ends = torch.tensor([-1.0]), torch.tensor([9.0])
    with torch.no_grad():
        x, log_slope = newton.root(line, torch.tensor([3.0]), (), ends, torch.zeros(1))
    assert not x.requires_grad
    assert_close((x, log_slope), (torch.tensor([1.0]), torch.tensor([math.log(2)])))


def test_a_target_of_nan_has_a_root_of_nan():
    ends = torch.full((2,), -1.0), torch.full((2,), 9.0)
    target = torch.tensor([3.0, math.nan])
    x, _ = newton.solve(line, target, (), ends, torch.zeros(2))
    assert_close(x, torch.tensor([1.0, math.nan]), equal_nan=True)


def test_an_empty_batch_has_no_roots():
    empty = torch.zeros(0, 3)
    x, log_slope = newton.root(line, empty, (), (empty, empty), empty)
    assert x.shape == log_slope.shape == (0, 3)


@pytest.mark.parametrize("steps", range(1, 8))
def test_solve_may_end_after_any_number_of_steps(monkeypatch, steps):
    monkeypatch.setattr(newton, "MAX_STEPS", steps)
    target = torch.tensor([1.0, 100.0, 1e4])
    ends = torch.full((3,), -50.0), torch.full((3,), 50.0)
    together = newton.solve(exponential, target, (), ends, torch.zeros(3))
    alone = newton.solve(exponential, target[1:2], (), (ends[0][:1], ends[1][:1]), torch.zeros(1))
    assert_close([part[1:2] for part in together], list(alone), rtol=1e-12, atol=1e-12)


def test_solve_takes_few_steps():
    calls = []

    def counted(x):
        calls.append(len(x))
        return x + x.sinh(), (1 + x.cosh()).log()

    x = 5 * torch.randn(1000)
    ends = torch.full((1000,), -30.0), torch.full((1000,), 30.0)
    newton.solve(counted, counted(x)[0], (), ends, torch.zeros(1000))
    assert sum(calls) / 1000 < 14
