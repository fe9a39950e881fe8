"""NADE: its recursion and the gradient that is written by hand."""

import pytest
import torch
from helpers.causal_nets import by_steps
from registry import NETS, net
from torch.testing import assert_close

from pyro_exact.autoregressive import NADE, Autoregressive

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=NETS)
def each(request):
    return net(request.param)


def test_nade_keeps_its_precision_under_autocast():
    d = Autoregressive(net("NADE").float())
    x = torch.randint(2, (5, 10))
    with torch.autocast("cpu", torch.bfloat16):
        inside = d.log_prob(x)
    assert_close(inside, d.log_prob(x))


def test_nade_keeps_one_hidden_layer_for_the_gradient():
    made = NADE(50, 20)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        made(torch.randint(2, (30, 50)).double())
    assert max(kept) == 50 * 30  # the input; the hidden layers together have 50 * 30 * 20 numbers


def test_nade_passes_over_what_is_zero_in_the_whole_batch():
    made = net("NADE")
    x = torch.randint(2, (5, 10)).double()
    x[:, [0, 3, 4, 9]] = 0
    thetas = [made(x), by_steps(made, x, None, 0)]
    assert_close(*thetas)
    gradients = [
        torch.autograd.grad(theta.square().sum(), list(made.parameters())) for theta in thetas
    ]
    assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_nade_has_second_derivatives():
    made, x = net("NADE"), torch.randint(2, (3, 10)).double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, *_: made(x), (x, *made.parameters()))
    made.V.requires_grad_(False)
    assert torch.autograd.gradgradcheck(lambda x, *_: made(x), (x, made.W, made.b, made.c))


def test_nade_has_a_gradient_in_its_input():
    made = net("NADE")
    x = torch.rand(3, 10, requires_grad=True)  # between 0 and 1, where the recursion is defined too
    context = None
    outputs = [made(x), by_steps(made, x, context, 0)]
    assert_close(*(torch.autograd.grad(y.square().sum(), x) for y in outputs))
