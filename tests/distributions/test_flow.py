"""`FlowDistribution` beside the stock distribution, and its use of the memory."""

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch.testing import assert_close

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.distributions.isotropic_normal import IsotropicNormal
from pyro_exact.nn import DenseConditioner
from pyro_exact.transforms import Affine, Compose, Coupling, Halves

pytestmark = pytest.mark.usefixtures("double")
CONTEXTS = {"plain": None, "context": (5, 2), "broadcast context": (5, 1, 2)}


class Counting(DenseConditioner):
    """A conditioner that counts its evaluations."""

    calls = 0

    def forward(self, x, context=None):
        type(self).calls += 1
        return super().forward(x, context)


def flow(context_dim=None):
    nets = [Counting(2, 2, 2, (6,), context_dim) for _ in range(2)]
    halves = Halves(4), Halves(4, swap=True)
    layers = [Coupling(half, Affine(), net) for half, net in zip(halves, nets, strict=True)]
    module = Flow(StandardNormal(4), Compose(layers))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture(params=CONTEXTS.values(), ids=list(CONTEXTS))
def pair(request):
    """Our distribution, and the stock one of the same layers."""
    module = flow(None if request.param is None else 2)
    if request.param is None:
        ours, layer = module(), module.bijection
    else:
        context = torch.randn(request.param, requires_grad=True)
        ours, layer = module.condition(context), module.bijection.condition(context)
    return ours, TransformedDistribution(Normal(torch.zeros(4), 1.0).to_event(1), [layer])


def test_flow_distribution_is_the_stock_one(pair):
    ours, stock = pair
    assert (ours.batch_shape, ours.event_shape) == (stock.batch_shape, stock.event_shape)
    assert ours.support.event_dim == stock.support.event_dim
    for shape in [(4,), (5, 1, 4), (3, 5, 5, 4)]:
        x = torch.randn(shape)
        assert_close(ours.log_prob(x), stock.log_prob(x))
    samples = []
    for d in (ours, stock):
        torch.manual_seed(1)
        x = d.rsample((3,))
        samples.append((x, d.log_prob(x)))
    assert_close(*samples)


def test_flow_distribution_takes_the_batch_of_a_bound_context():
    module, context = flow(2), torch.randn(5, 2)
    bound = Flow(module.base, module.bijection.condition(context))()
    assert bound.batch_shape == (5,)
    assert bound.sample((1,)).shape == (1, 5, 4)
    x = torch.randn(3, 5, 4)
    assert_close(bound.log_prob(x), module.condition(context).log_prob(x))


def test_flow_distribution_expands(pair):
    ours, stock = (d.expand((7, *d.batch_shape)) for d in pair)
    assert ours.batch_shape == stock.batch_shape
    x = torch.randn((*ours.batch_shape, 4))
    assert_close(ours.log_prob(x), stock.log_prob(x))


def test_flow_distribution_scores_a_sample_without_evaluating_its_networks(pair):
    d, _ = pair
    x = d.rsample((3,))
    before = Counting.calls
    known = d.log_prob(x)
    assert Counting.calls == before
    assert_close(d.log_prob(x.clone()), known)
    assert Counting.calls > before


def test_flow_distribution_scores_anew_after_a_write_to_the_context():
    module, context = flow(2), torch.randn(5, 2)
    d = module.condition(context)
    x = d.rsample()
    context.add_(1)
    assert_close(d.log_prob(x), module.condition(context.clone()).log_prob(x.clone()))


def test_flow_distribution_does_not_score_a_sample_by_another_context():
    module, context = flow(2), torch.randn(5, 2)
    x = module.condition(context).rsample()
    other = module.condition(context + 1)
    assert_close(other.log_prob(x), other.log_prob(x.clone()))


@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-150])
def test_isotropic_normal_is_the_stock_normal(scale):
    origin = torch.zeros(2, 3)
    ours, stock = IsotropicNormal(origin, scale), Normal(origin, scale).to_event(1)
    for shape in [(3,), (2, 3), (4, 2, 3)]:
        z = scale * torch.randn(shape)
        assert_close(ours.log_prob(z), stock.log_prob(z))
    assert_close(ours.expand((5, 2)).log_prob(z[0]), stock.expand((5, 2)).log_prob(z[0]))
    for draw in ("sample", "rsample"):
        draws = []
        for distribution in (ours, stock):
            torch.manual_seed(0)
            draws.append(getattr(distribution, draw)((4,)))
        assert_close(*draws)
    assert_close(ours.variance, stock.variance)
