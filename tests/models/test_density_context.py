"""Density with a real context: p(x | context), and training on pairs."""

import pytest
import torch
from pyro.distributions import Normal
from torch import nn
from torch.testing import assert_close

from pyro_exact.autoregressive import MADE, Autoregressive
from pyro_exact.data import ArrayDataset
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import maf
from pyro_exact.likelihoods import GaussianLikelihood
from pyro_exact.models import Density
from pyro_exact.testing import check_model
from pyro_exact.train.data_module import check_labels, labels_for

DIM = 2


class LinearRegression(nn.Module):
    """A conditional distribution of a user: x is normal around a linear map of the context."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(DIM, DIM)

    def forward(self):
        raise AssertionError("called without a context")

    def condition(self, context):
        return Normal(self.mean(context), 1.0).to_event(1)


def flow():
    return Flow(StandardNormal(DIM), maf(DIM, context_dim=DIM).inv)


def network():
    net = MADE(DIM, (5,), likelihood=GaussianLikelihood(), context_dim=DIM)
    return Autoregressive(net, torch.zeros(DIM))


DISTRIBUTIONS = {"flow": flow, "network": network}


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def distribution(request):
    return request.param()


def test_density_given_a_context_scores_as_its_distribution_does(distribution):
    model, x, context = Density(distribution, DIM), torch.randn(4, DIM), torch.randn(4, DIM)
    expected = distribution.condition(context).log_prob(x)
    assert (model.context_dim, model.classes, tuple(model.event_shape)) == (DIM, None, (DIM,))
    assert_close(model.condition(context).log_weight(x), expected)


def test_density_given_a_context_obeys_the_laws_of_models(distribution):
    check_model(
        Density(distribution, DIM).condition(torch.randn(DIM).double()), torch.randn(4, DIM)
    )


def test_density_given_contexts_draws_for_each(distribution):
    given = Density(distribution, DIM).condition(torch.randn(3, DIM))
    assert given.sample(5).shape == (5, 3, DIM)
    assert (given.context_dim, given.classes) == (None, None)


def test_density_given_a_context_initializes_the_layers_that_start_from_data():
    model, x = Density(flow(), DIM), 7 + torch.randn(50, DIM)
    before = model.condition(x).log_weight(x).mean()
    model.condition(x).initialize(x)
    assert model.condition(x).log_weight(x).mean() > before + 1


def test_density_takes_a_conditional_distribution_of_the_user():
    regression = LinearRegression()
    x, context = torch.randn(3, DIM), torch.randn(3, DIM)
    given = Density(regression, DIM).condition(context)
    assert_close(given.log_weight(x), regression.condition(context).log_prob(x))


def test_density_of_a_flow_takes_classes_unless_the_context_is_real():
    model, labels, x = Density(flow()), torch.tensor([1, 0, 1]), torch.randn(3, DIM)
    assert (model.classes, model.context_dim) == (DIM, None)
    expected = model.distribution.condition(torch.eye(DIM)[labels]).log_prob(x)
    assert_close(model.condition(labels).log_weight(x), expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Density(flow(), 3), ValueError, r"context has the size 3; got context_shape \(2,"),
        (lambda: Density(nn.Identity(), 3), TypeError, r"a method condition\(context\)"),
        (lambda: Density(flow(), 2).sample(1), ValueError, r"expects a context of shape"),
        (lambda: Density(flow(), 2).condition(torch.zeros(4, 3)), ValueError, r"context of shape"),
        (lambda: Density(flow(), 2).condition(torch.zeros(4, 2) / 0), ValueError, "to be finite"),
        (lambda: Density(flow(), 2).condition(torch.tensor([1])), TypeError, "floating-point"),
    ],
)
def test_density_refuses_a_context_that_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


def pairs(context):
    x = torch.randn(6, DIM)
    return ArrayDataset("pairs", x, x, context_of={"train": context, "valid": context})


def test_labels_for_a_model_with_a_context_are_the_contexts_of_the_data():
    context = torch.randn(6, DIM)
    model, data = Density(flow(), DIM), pairs(context)
    check_labels(model, data)
    assert torch.equal(labels_for(model, data, "valid"), context)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (torch.randn(6, 3), r"expects contexts of shape \(N, 2\).*; got \(6, 3\)"),
        (torch.full((6, 2), torch.nan), r"expects finite contexts; got 12 elements"),
    ],
)
def test_check_labels_refuses_contexts_that_do_not_fit(context, message):
    with pytest.raises(ValueError, match=message):
        check_labels(Density(flow(), DIM), pairs(context))
