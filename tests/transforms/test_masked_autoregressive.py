"""Masked autoregressive layers: order, steps, Jacobian."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.nn import CausalConditioner, MaskedDense
from pyro_exact.transforms import (
    Additive,
    Affine,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
)

pytestmark = pytest.mark.usefixtures("double")

FORMULAS = {
    "Affine": Affine,
    "Additive": Additive,
    "MixtureCDF": lambda: MixtureCDF(5),
    "Spline": lambda: Spline(5),
}

every_formula = pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))

both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])


def perturb(module, std=0.5):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def masked(formula, context_dim=None, dim=3, hidden_dims=(6,), order=None):
    net = MaskedDense(dim, formula.num_params, hidden_dims, context_dim, order)
    return MaskedAutoregressive(formula, net)


@st.composite
def nets(draw):
    dim = draw(st.integers(1, 6))
    context_dim = draw(st.sampled_from([None, 1, 3]))
    hidden_dims = draw(st.none() | st.lists(st.integers(dim, 9), max_size=3))
    order = draw(st.none() | st.permutations(range(dim)))
    net = perturb(MaskedDense(dim, draw(st.integers(1, 3)), hidden_dims, context_dim, order))
    batch = draw(st.sampled_from([(), (3,), (2, 3), (0,)]))
    return (
        net,
        torch.randn(*batch, dim),
        None if context_dim is None else torch.randn(*batch, context_dim),
    )


@given(nets())
@settings(max_examples=40, deadline=None)
def test_masked_autoregressive_steps_give_what_forward_gives(made):
    net, x, context = made
    state, previous, theta = net.start(x.shape[:-1], context), None, [None] * net.dim
    for i in net.orders[0].tolist():
        theta[i], state = net.step(state, previous)
        previous = x[..., i]
    assert_close(torch.stack(theta, dim=-2), net(x, context))


@given(nets())
@settings(max_examples=40, deadline=None)
def test_masked_autoregressive_outputs_depend_on_nothing_but_what_comes_before(made):
    net, x, context = made
    theta, order = net(x, context), net.orders[0].tolist()
    for place, i in enumerate(order):
        moved = x.clone()
        moved[..., i] += 1e3 * (1 + torch.rand(x.shape[:-1]))
        after = net(moved, context)
        unaffected = order[: place + 1]
        assert torch.equal(after[..., unaffected, :], theta[..., unaffected, :])


@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize("hidden_dims", [(), (6,), (5, 9), None])
def test_masked_autoregressive_every_output_sees_everything_before_it(hidden_dims, context_dim):
    order = [2, 0, 4, 1, 3]
    net = MaskedDense(5, 1, hidden_dims, context_dim, order)
    for p in net.parameters():
        nn.init.uniform_(p, 0.1, 1)  # with positive weights no unit is off and nothing cancels
    context = torch.rand(context_dim or 1, requires_grad=True)
    x = torch.rand(5, requires_grad=True)
    theta = net(x, context).squeeze(-1)
    seen = (
        torch.stack(
            [torch.autograd.grad(t, x, retain_graph=True, allow_unused=True)[0] for t in theta]
        )
        != 0
    )
    in_order = seen[order][:, order]
    assert torch.equal(in_order, torch.ones(5, 5, dtype=torch.bool).tril(-1))
    if context_dim:
        for t in theta:
            assert torch.autograd.grad(t, context, retain_graph=True)[0].all()


class Counting(CausalConditioner):
    """A conditioner without steps, which counts its evaluations."""

    def __init__(self, net):
        super().__init__(net.dim, net.context_shape)
        self.net, self.calls = net, 0

    @property
    def order(self):
        return self.net.order

    def forward(self, x, context=None):
        self.calls += 1
        return self.net(x, context)


@both
@every_formula
def test_masked_autoregressive_inverse_without_steps_evaluates_each_dimension(make, context_dim):
    steps = perturb(masked(make(), context_dim, order=[1, 2, 0]))
    passes = MaskedAutoregressive(steps.elementwise, Counting(steps.conditioner))
    y = torch.randn(4, 3, requires_grad=True)
    context = None if context_dim is None else torch.randn(4, context_dim)
    assert_close(passes.inverse_and_ladj(y, context), steps.inverse_and_ladj(y, context))
    assert passes.conditioner.calls == 3
    gradients = [
        torch.autograd.grad(
            sum(part.sum() for part in layer.inverse_and_ladj(y, context)), [y, *steps.parameters()]
        )
        for layer in (passes, steps)
    ]
    assert_close(*gradients)
    passes.conditioner.calls = 0
    passes.forward_and_ladj(y, context)
    assert passes.conditioner.calls == 1


@both
@every_formula
def test_masked_autoregressive_its_jacobian_is_triangular_in_its_order(make, context_dim):
    layer = perturb(masked(make(), context_dim, order=[1, 2, 0]))
    context = None if context_dim is None else torch.randn(context_dim)
    found = jacobian(lambda x: layer.forward_and_ladj(x, context)[0], torch.randn(3))
    in_order = found[[1, 2, 0]][:, [1, 2, 0]]
    assert not in_order.triu(1).any()
    assert in_order.tril(-1).any()


@both
@every_formula
def test_masked_autoregressive_of_one_dimension(make, context_dim):
    layer = perturb(masked(make(), context_dim, dim=1))
    x = torch.randn(5, 1)
    context = None if context_dim is None else torch.randn(5, context_dim)
    y, ladj = layer.forward_and_ladj(x, context)
    assert_close(layer.inverse_and_ladj(y, context), (x, -ladj))


def test_masked_autoregressive_high_dimensional_inverse():
    layer = perturb(masked(Affine(), dim=60, hidden_dims=None), 0.03)
    x = torch.randn(7, 60)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(layer.inverse_and_ladj(y), (x, -ladj), rtol=1e-8, atol=1e-8)
