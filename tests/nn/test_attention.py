"""Attention and its gradients."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.nn import (
    AttentionConditioner,
)
from pyro_exact.nn.attend import attend

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


def attention(*parts):
    query, key, value = parts
    return ((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value).square()


def test_attention_has_the_gradients_of_its_formula_to_the_second():
    parts = [torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def gradients(formula):
        first = torch.autograd.grad(formula(*parts).sum(), parts, create_graph=True)
        return *first, *torch.autograd.grad(sum(g.square().sum() for g in first), parts)

    assert_close(gradients(lambda *parts: attend(*parts).square()), gradients(attention))


def test_attention_gradient_may_be_asked_for_twice():
    parts = [torch.randn(2, 5, 4, requires_grad=True) for _ in range(3)]
    total = attend(*parts).square().sum()
    first = torch.autograd.grad(total, parts, retain_graph=True)
    assert_close(torch.autograd.grad(total, parts), first, rtol=0, atol=0)


def test_attention_conditioner_has_a_hessian_by_either_way():
    net = perturb(
        AttentionConditioner(1, 1, 2, (2, 2), width=4, depth=1, heads=2, dropout=0.0).double()
    )
    x = torch.randn(1, 2, 2, dtype=torch.float64)

    def total(x):
        return net(x[None]).square().sum()

    expected = torch.autograd.functional.hessian(total, x)
    assert expected.abs().max() > 0
    assert_close(torch.func.hessian(total)(x), expected)
