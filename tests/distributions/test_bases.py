"""Bases and mixtures against stock distributions, and what they refuse."""

import math

import pyro
import pytest
import torch
from pyro.distributions import MultivariateNormal, Normal, StudentT
from pyro.infer import SVI, Trace_ELBO
from torch.testing import assert_close

from pyro_exact.distributions import (
    ClassNormal,
    Flow,
    LowRankNormal,
    Mixture,
    NormalMixture,
    StandardNormal,
    StudentNoise,
    UniformBox,
)
from pyro_exact.flows import maf
from pyro_exact.models import Density
from pyro_exact.transforms import FixedAffine

pytestmark = pytest.mark.usefixtures("double")


def test_uniform_box_has_the_density_of_its_volume():
    d = UniformBox(3, -1.0, 3.0)()
    x = torch.tensor([-1.0, 0.0, 2.5])
    assert_close(d.log_prob(x), torch.tensor(-3 * math.log(4)))
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(x + 1)


def test_student_noise_is_the_stock_distribution():
    x = torch.randn(5, 2)
    expected = StudentT(7.0).log_prob(x).sum(-1)
    assert_close(StudentNoise(2, df=7.0)().log_prob(x), expected)


def test_low_rank_normal_has_its_covariance():
    base = LowRankNormal(3, 2)
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter)
    covariance = base.factor @ base.factor.mT + base.log_diagonal.exp().diag()
    x = torch.randn(5, 3)
    assert_close(base().log_prob(x), MultivariateNormal(base.mean, covariance).log_prob(x))


def test_normal_mixture_is_the_sum_of_its_parts():
    base = NormalMixture(2, 3)
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 1, 2)
    parts = Normal(base.means, base.log_scales.exp()).log_prob(x).sum(-1)
    expected = (parts + base.logits.log_softmax(-1)).logsumexp(-1)
    assert_close(base().log_prob(x.squeeze(1)), expected)


# Two normals at -2 and 2, with the weights 1/4 and 3/4.
def two_normals():
    flows = [Flow(StandardNormal(1), FixedAffine(1.0, shift, event_dim=1)) for shift in (-2.0, 2.0)]
    made = Mixture(flows)
    made.logits.data = torch.tensor([0.0, math.log(3)])
    return made


def test_mixture_is_the_sum_of_its_parts():
    x = torch.linspace(-5, 5, 11).unsqueeze(-1)
    density = (
        1 / 4 * Normal(-2.0, 1.0).log_prob(x).exp() + 3 / 4 * Normal(2.0, 1.0).log_prob(x).exp()
    )
    assert_close(two_normals()().log_prob(x), density.log().squeeze(-1))


def test_mixture_draws_its_parts_by_their_weights():
    x = two_normals()().sample((20_000,))
    assert abs((x > 0).double().mean().item() - (3 / 4 * 0.97725 + 1 / 4 * 0.02275)) < 0.015


def test_mixture_learns_from_data():
    pyro.set_rng_seed(0)
    flows = [Flow(StandardNormal(2), maf(2, 1, (8,)).inv) for _ in range(2)]
    model = Density(Mixture(flows))
    data = torch.cat((torch.randn(64, 2) - 3, torch.randn(64, 2) + 3))
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(data) for _ in range(40)]
    assert losses[-1] < losses[0] - 50
    gradients = [parameter.grad for parameter in model.parameters()]
    assert len(gradients) > 0


def test_mixture_of_conditional_flows_takes_a_batch_of_contexts():
    flows = [Flow(StandardNormal(2), maf(2, 1, (8,), context_dim=3).inv) for _ in range(2)]
    d = Mixture(flows).condition(torch.randn(4, 3))
    assert d.batch_shape == (4,)
    assert d.log_prob(d.sample((5,))).shape == (5, 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Mixture([]), ValueError, "Mixture expects at least one flow"),
        (lambda: Mixture([maf(2)]), TypeError, "Mixture expects flows of type Flow"),
        (
            lambda: Mixture([Flow(StandardNormal(n), maf(n).inv) for n in (2, 3)])(),
            ValueError,
            "Mixture expects components of equal shapes",
        ),
        (lambda: StudentNoise(2, df=1.0), ValueError, "StudentNoise expects df above least"),
        (lambda: LowRankNormal(2, 3), ValueError, "LowRankNormal expects rank from 1 to 2"),
        (lambda: NormalMixture(2, 0), ValueError, "NormalMixture expects components from 1"),
    ],
)
def test_a_bad_argument_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("context_dim", [None, 3])
def test_class_normal_is_the_base_of_a_flow_by_class(context_dim):
    base, bijection = ClassNormal(2, 3), maf(2, 1, (4,), context_dim)
    for parameter in [*base.parameters(), *bijection.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    flow = Flow(base, bijection.inv)
    labels = torch.tensor([2, 0, 2, 1])
    context = torch.eye(3)[labels]
    by_class = flow.condition(context)
    x = by_class.sample()
    assert by_class.batch_shape == (4,)
    assert flow.event_shape == (2,)

    layer = bijection if context_dim is None else bijection.condition(context)
    z, ladj = layer.forward_and_ladj(x)
    noise = Normal(base.means[labels], base.log_scales[labels].exp()).log_prob(z).sum(-1)
    assert_close(by_class.log_prob(x), noise + ladj)


def test_class_normal_without_a_class_is_the_mean_over_classes():
    flow = Flow(ClassNormal(2, 3), maf(2, 1, (4,)).inv)
    x = torch.randn(5, 2)
    each = torch.stack([flow.condition(c.expand(5, 3)).log_prob(x) for c in torch.eye(3)])
    assert_close(flow().log_prob(x), each.logsumexp(0) - math.log(3))


def test_class_normal_refuses_contexts_that_are_no_classes():
    flow = Flow(ClassNormal(2, 3), maf(2, 1, (4,)).inv)
    with pytest.raises(ValueError, match="expects a context of shape"):
        flow.condition(torch.tensor([1, 2]))
