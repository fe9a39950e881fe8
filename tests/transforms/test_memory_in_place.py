"""The memory of a layer when a sample is changed in place."""

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch import nn
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import DenseConditioner
from pyro_exact.transforms import (
    Affine,
    Coupling,
    Halves,
)


def perturb(module, std=0.3):
    for p in module.parameters():
        p.data.add_(std * torch.randn_like(p))
    return module


def normal(dim):
    return Normal(torch.zeros(dim), torch.ones(dim)).to_event(1)


class Dropping(DenseConditioner):
    """A conditioner that drops half of its outputs, and counts its evaluations."""

    calls = 0

    def forward(self, x, context=None):
        self.calls += 1
        return nn.functional.dropout(super().forward(x, context), 0.5, self.training)


def test_memory_of_a_broadcast_context_is_one_evaluation():
    layer = perturb(Coupling(Halves(2), Affine(), Dropping(1, 1, 2, (6,), context_dim=2)))
    flow = Flow(StandardNormal(2), layer.inv)
    log_prob = flow.condition(torch.randn(4, 1, 2)).log_prob(torch.randn(5, 2))
    assert log_prob.shape == (4, 5)
    assert layer.conditioner.calls == 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_memory_is_void_when_a_sample_changed_through_numpy(mode):
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    with mode():
        x = d.sample((4,))
        x.numpy()[:] = 0
        assert_close(d.log_prob(x), d.log_prob(torch.zeros(4, 3)))


def test_memory_is_void_when_a_sample_is_zeroed_in_inference_mode():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    with torch.inference_mode():
        x = d.sample((4,))
        x.zero_()
        assert_close(d.log_prob(x), d.log_prob(torch.zeros(4, 3)))


def test_memory_is_void_when_a_sample_with_gradient_changed_through_numpy():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    for write in (lambda x: x.detach().numpy().fill(0.5), lambda x: x.data.fill_(0.5)):
        x = d.rsample((4,))
        write(x)
        assert_close(d.log_prob(x), d.log_prob(torch.full((4, 3), 0.5)))


def test_memory_lets_a_sample_be_detached_in_place():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    x = d.rsample((4,)).detach_()
    assert not x.requires_grad
    assert_close(d.log_prob(x), d.log_prob(x.clone()))
