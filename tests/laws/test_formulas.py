"""The laws of every formula of the registry."""

import pytest
import torch
from registry import ELEMENTWISE
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=ELEMENTWISE.values(), ids=list(ELEMENTWISE))
def formula(request):
    return request.param()


def numbers(formula, *shape):
    return torch.randn(shape), torch.randn(*shape, formula.num_params)


def test_formulas_invert(formula):
    x, theta = numbers(formula, 4, 5)
    y, ladj = formula.forward_and_ladj(x, theta)
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    assert y.shape == ladj.shape == x.shape
    assert_close(back, x, rtol=1e-8, atol=1e-8)
    assert_close(ladj_back, -ladj, rtol=1e-8, atol=1e-8)


def test_formulas_have_the_ladj_of_their_derivative(formula):
    x, theta = numbers(formula, 20)
    y, ladj = formula.forward_and_ladj(x.requires_grad_(), theta)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close(ladj, slope.abs().log(), rtol=1e-8, atol=1e-8)


def test_formulas_have_a_differentiable_inverse(formula):
    y, theta = (value.requires_grad_() for value in numbers(formula, 3))
    assert torch.autograd.gradcheck(formula.inverse_and_ladj, (y, theta))


def test_formulas_refuse_parameters_of_another_shape(formula):
    x, theta = numbers(formula, 4)
    with pytest.raises(ValueError, match="expects its conditioner to return parameters of shape"):
        formula.check_theta(theta[:1], x)


def test_formulas_take_the_parameters_one_by_one_if_they_say_so(formula):
    x, theta = numbers(formula, 4, 5)
    parts = theta.unbind(-1) if formula.separate else (theta,)
    for method in (formula.forward_and_ladj, formula.inverse_and_ladj):
        for value, expected in zip(method(x, *parts), method(x, theta), strict=True):
            assert_close(value, expected)
