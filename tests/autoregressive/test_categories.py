"""Networks of categories: one-hot inputs, which have no order of the levels."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import NADE, Autoregressive, ConvNADE, DeepNADE
from pyro_exact.autoregressive.site_inputs import inputs_of_site, site_inputs
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
)
from pyro_exact.models import Density, OrderAgnostic

pytestmark = pytest.mark.usefixtures("double")

LEVELS = 4
CATEGORIES = CategoricalLikelihood(LEVELS)
ORDER_AGNOSTIC = {
    "DeepNADE": lambda: DeepNADE((1, 1, 3), (8, 8), likelihood=CATEGORIES),
    "ConvNADE": lambda: ConvNADE((1, 1, 3), 3, [1], (8,), likelihood=CATEGORIES),
}


@pytest.fixture(params=ORDER_AGNOSTIC.values(), ids=list(ORDER_AGNOSTIC))
def any_order(request):
    made = request.param()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def every_value(shape):
    values = itertools.product(range(LEVELS), repeat=math.prod(shape))
    return torch.tensor(list(values)).double().view(-1, *shape)


@pytest.mark.parametrize(
    ("likelihood", "inputs"),
    [(BernoulliLikelihood(), 1), (CATEGORIES, LEVELS), (GaussianLikelihood(), 1)],
    ids=["bits", "categories", "real elements"],
)
def test_inputs_of_a_site_are_one_hot_for_categories_alone(likelihood, inputs):
    assert inputs_of_site(likelihood) == inputs
    x = torch.tensor([[0.0, 1.0, 1.0]])
    made = site_inputs(x, likelihood)
    assert made.shape == (1, 3, inputs)
    assert_close(made.argmax(-1).double() if inputs > 1 else made.squeeze(-1), x)


def test_nade_of_categories_has_a_total_probability_of_one():
    made = NADE(3, 6, likelihood=CATEGORIES)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    total = Autoregressive(made).log_prob(every_value((3,))).logsumexp(0)
    assert_close(total, torch.zeros(()))


def test_nade_of_categories_learns_a_table_without_order():
    """The second element is a permutation of the first, which no linear input could tell."""
    table = torch.tensor([2, 0, 3, 1])
    first = torch.arange(LEVELS).repeat(20)
    x = torch.stack((first, table[first]), dim=-1).double()
    for model in (
        Density(Autoregressive(NADE(2, 16, likelihood=CATEGORIES))),
        OrderAgnostic(DeepNADE(2, (16,), likelihood=CATEGORIES)),
    ):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            (-model.log_weight(x).mean()).backward()
            optimizer.step()
        model.eval()
        assert model.log_weight(x).mean() > -math.log(LEVELS) - 0.1
        drawn = model.sample(50).long()
        assert (table[drawn[:, 0]] == drawn[:, 1]).double().mean() > 0.9


def test_completion_of_categories_with_a_mask_for_each_row(any_order):
    x = every_value((1, 1, 3))
    known = torch.tensor([[True, False, False], [False, True, True]]).view(2, 1, 1, 3)
    observed = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0]]).view(2, 1, 1, 3)
    given = any_order.condition_on(observed, known)
    total = given.log_prob(x.unsqueeze(1)).logsumexp(0)
    assert_close(total, torch.zeros(2))

    drawn = OrderAgnostic(any_order).complete(observed, known, n=7)
    assert drawn.shape == (7, 2, 1, 1, 3)
    assert torch.equal(drawn[:, known], observed[known].expand(7, -1))
