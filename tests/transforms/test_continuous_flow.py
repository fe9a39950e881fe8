"""Continuous flows: exact to the tolerance in both directions, and trained by flow matching."""

import copy

import pytest
import torch
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.infer import flow_matching_loss
from pyro_exact.nn import Velocity
from pyro_exact.transforms import ContinuousFlow


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def moved(module, std=0.5):
    """The module with weights away from their start."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(std * torch.randn_like(weight))
    return module


def layer(tolerance=1e-9, context_dim=None, **settings):
    torch.manual_seed(0)
    return moved(ContinuousFlow(3, (8, 7), context_dim, tolerance=tolerance, **settings))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("context_dim", [None, 2])
def test_continuous_flow_has_the_jacobian_and_the_inverse(context_dim):
    flow = layer(context_dim=context_dim)
    x = torch.randn(4, 3)
    context = None if context_dim is None else torch.randn(4, context_dim)
    y, ladj = flow.forward_and_ladj(x, context)

    jacobians = torch.autograd.functional.jacobian(
        lambda x: flow.forward_and_ladj(x, context)[0], x
    )
    expected = torch.stack([jacobians[i, :, i].slogdet()[1] for i in range(4)])
    assert ladj.abs().max() > 0.1
    assert_close(ladj, expected, rtol=0, atol=1e-6)

    back, inverse_ladj = flow.inverse_and_ladj(y, context)
    assert_close(back, x, rtol=0, atol=1e-7)
    assert_close(inverse_ladj, -ladj, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("double")
def test_continuous_flow_is_exact_to_the_tolerance():
    x = torch.randn(50, 3)
    exact = layer(1e-12).forward_and_ladj(x)
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        found = layer(tolerance).forward_and_ladj(x)
        errors.append(max((a - b).abs().max().item() for a, b in zip(found, exact, strict=True)))
        assert errors[-1] < 100 * tolerance  # the errors of steps add up
    assert errors == sorted(errors, reverse=True)


def test_continuous_flow_raises_the_tolerance_to_the_precision_of_float32():
    flow = layer(1e-12)
    x = torch.randn(5, 3)
    assert_close(flow.inv(flow(x).clone()), x, rtol=0, atol=1e-4)


@pytest.mark.usefixtures("double")
def test_velocity_has_the_divergence_of_autograd():
    torch.manual_seed(0)
    velocity = moved(Velocity(3, (6, 5, 4), 2))
    t, x, context = torch.tensor(0.3), torch.randn(4, 3), torch.randn(4, 2)
    v, divergence = velocity.with_divergence(t, x, context)
    assert_close(v, velocity(t, x, context))

    jacobian = torch.autograd.functional.jacobian(lambda x: velocity(t, x, context), x)
    jacobian = torch.stack([jacobian[i, :, i] for i in range(4)])
    assert_close(divergence, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1))

    noise = torch.randn(4, 3)
    _, product = velocity.with_estimate(t, x, noise, context)
    assert_close(product, torch.einsum("ni,nij,nj->n", noise, jacobian, noise))


@pytest.mark.usefixtures("double")
def test_estimated_divergence_has_the_exact_mean():
    exact, estimate = layer(1e-5), layer(1e-5, divergence="estimate")
    x = torch.randn(1, 3)
    found = estimate.forward_and_ladj(x.expand(4000, 3))[1]
    error = found.std() / len(found) ** 0.5
    assert error > 0
    assert abs(found.mean() - exact.forward_and_ladj(x)[1]) < 4 * error


@pytest.mark.usefixtures("double")
def test_continuous_flow_has_the_gradients_of_the_solution():
    flow = layer(1e-10)
    x = torch.randn(2, 3)

    def loss():
        y, ladj = flow.forward_and_ladj(x)
        return (y.sin().sum(-1) + ladj).sum()

    weight = flow.velocity.first.weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-5
    with torch.no_grad():
        weight[1, 2] += step
        above = loss()
        weight[1, 2] -= 2 * step
        below = loss()
    assert_close(gradient[1, 2], (above - below) / (2 * step), rtol=1e-5, atol=1e-6)


def test_continuous_flow_starts_at_the_identity():
    x = torch.randn(5, 3)
    y, ladj = ContinuousFlow(3).forward_and_ladj(x)
    assert_close(y, x)
    assert_close(ladj, torch.zeros(5))


def test_continuous_flow_takes_empty_batches_copies_and_remembers_its_score():
    flow = copy.deepcopy(layer(1e-5))
    assert flow(torch.empty(0, 3)).shape == (0, 3)

    x = torch.randn(5, 3)
    y = flow(x)
    calls = []
    flow.velocity.register_forward_hook(lambda *_: calls.append(1))
    assert_close(flow.log_abs_det_jacobian(x, y), flow.forward_and_ladj(x)[1])
    assert torch.equal(flow.inv(y), x)
    assert not calls


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"divergence": "hutchinson"}, "expects divergence 'exact' or 'estimate'"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"hidden_dims": ()}, "at least one layer"),
    ],
)
def test_continuous_flow_refuses_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ContinuousFlow(3, **settings)


def test_flow_matching_trains_a_density():
    torch.manual_seed(0)
    angle = 2 * torch.pi * torch.rand(2000, 1)
    radius = 3 + 0.1 * torch.randn(2000, 1)
    x = torch.cat((radius * angle.cos(), radius * angle.sin()), -1)

    bijection = flows.cnf(2, (64, 64))
    bijection.initialize(x)
    flow = Flow(StandardNormal(2), bijection.inv)
    with torch.no_grad():
        before = flow().log_prob(x[:200]).mean()

    optimizer = torch.optim.Adam(bijection.parameters(), 5e-3)
    for _ in range(400):
        optimizer.zero_grad()
        flow_matching_loss(bijection, x[torch.randint(2000, (256,))]).backward()
        optimizer.step()
    with torch.no_grad():
        after = flow().log_prob(x[:200]).mean()
    assert after > before + 0.5  # nats: a ring is far from normal


def test_flow_matching_does_not_train_the_layers_before():
    bijection = flows.cnf(2)
    x = torch.randn(10, 2)
    bijection.initialize(x)
    flow_matching_loss(bijection, x).backward()
    norm, flow = bijection.parts
    assert all(weight.grad is None for weight in norm.parameters())
    assert flow.velocity.last.weight.grad.abs().max() > 0


def test_flow_matching_refuses_other_flows():
    with pytest.raises(TypeError, match=r"flows\.cnf"):
        flow_matching_loss(flows.maf(2), torch.randn(4, 2))
    with pytest.raises(TypeError, match=r"leave out \.inv"):
        flow_matching_loss(flows.cnf(2).inv, torch.randn(4, 2))
