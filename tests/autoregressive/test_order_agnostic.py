"""Networks of any order: the estimator over subsets, and ensembles."""

import itertools
import math

import pytest
import torch
from helpers.any_order import SMALL, every, small_net, under
from pyro import poutine
from pyro.infer import Trace_ELBO
from registry import net
from scipy.stats import chisquare
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, ConvNADE, DeepNADE
from pyro_exact.distributions import Subset
from pyro_exact.models import OrderAgnostic
from pyro_exact.train import evaluate

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=SMALL)
def small(request):
    return small_net(request.param)


def test_order_agnostic_estimator_over_subsets_has_the_mean_over_all_orders(small):
    x = every(6)[::5].view(-1, 1, 2, 3)
    subsets = every(6).bool()[:-1].view(-1, 1, 2, 3)
    weights = Subset((1, 2, 3)).log_prob(subsets).exp()
    estimates = torch.stack([OrderAgnostic(small).estimate(x, m.expand_as(x)) for m in subsets])
    orders = list(itertools.permutations(range(6)))
    d = under(small, orders)
    joint = torch.stack([Autoregressive(small, member=k).log_prob(x) for k in range(len(orders))])
    assert_close(weights @ estimates, joint.mean(0), rtol=1e-10, atol=1e-10)
    assert (d.log_prob(x) > joint.mean(0)).all()


def test_order_agnostic_elbo_in_training_is_the_mean_over_all_orders(small):
    model, x = OrderAgnostic(small), torch.randint(2, (1, 1, 2, 3)).double()
    orders = list(itertools.permutations(range(6)))
    under(small, orders)
    exact = sum(Autoregressive(small, member=k).log_prob(x) for k in range(len(orders))) / len(
        orders
    )
    with torch.no_grad():
        weights = model.log_weight(x.expand(20_000, 1, 2, 3))
        elbo = -Trace_ELBO(num_particles=2000, vectorize_particles=True).loss(
            model.model, model.guide, x
        )
    error = weights.std() / math.sqrt(len(weights))
    assert abs(weights.mean() - exact) < 4 * error
    assert abs(elbo - exact) < 4 * error * math.sqrt(10)


def test_order_agnostic_factor_in_training_scores_what_is_not_known(small):
    model, x = OrderAgnostic(small), torch.randint(2, (4, 1, 2, 3)).double()
    guide = poutine.trace(model.guide).get_trace(x)
    trace = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x)
    known = guide.nodes["known"]["value"]
    trace.compute_log_prob()
    assert_close(trace.nodes["x"]["log_prob"], model.estimate(x, known))
    moved = torch.where(known, 1 - x, x)
    assert (model.estimate(moved, known) != model.estimate(x, known))[known.flatten(1).any(1)].all()


def test_order_agnostic_likelihood_in_evaluation_is_exact(small):
    model, x = OrderAgnostic(small).eval(), every(6).view(-1, 1, 2, 3)
    expected = Autoregressive(small).log_prob(x)
    assert_close(model.log_weight(x), expected)
    score = evaluate(model.train(), x)
    assert (score.bound, score.k) == ("exact", 1)
    assert_close(score.nats, -expected.mean().item())


def test_order_agnostic_mass_of_all_subsets_is_one():
    log_p = Subset((1, 2, 3)).log_prob(every(6).bool().view(-1, 1, 2, 3))
    assert_close(log_p[:-1].exp().sum(), torch.tensor(1.0))
    assert log_p[-1] == -math.inf


@pytest.mark.parametrize("rows", [1, 3])
def test_order_agnostic_draws_each_subset_as_frequently_as_it_should(rows):
    d = Subset((4,))
    last = torch.stack([d.sample((rows,))[-1] for _ in range(8000)])
    counts = torch.bincount((last.long() << torch.arange(4)).sum(-1), minlength=16)
    assert counts[15] == 0
    expected = 8000 * d.log_prob(every(4).bool()[:15]).exp()
    assert chisquare(counts[:15].numpy(), expected.numpy()).pvalue > 1e-3


def test_order_agnostic_spreads_sizes_in_a_batch_evenly():
    sizes = Subset((400,)).sample((50,)).sum(-1).sort().values.double()
    even = torch.arange(50) * 8.0
    assert (sizes - even - 4).abs().max() < 60  # those of 50 independent subsets differ by more
    assert (sizes[None] == sizes[:, None]).double().mean() < 0.1


def test_order_agnostic_ignores_what_is_not_known(small):
    x, mask = torch.randint(2, (5, 1, 2, 3)).double(), Subset((1, 2, 3)).sample((5,))
    theta = small.conditionals(x, mask)
    assert theta.shape == (5, 1, 2, 3, 1)
    assert torch.equal(small.conditionals(torch.where(mask, x, 7.0), mask), theta)
    assert_close(small.conditionals(x, mask[0])[0], theta[0])


def test_order_agnostic_one_pass_gives_what_the_columns_add_up_to(small):
    x, order = torch.randint(2, (5, 1, 2, 3)).double(), small.orders[0]
    theta = small(x)
    for place, site in enumerate(order):
        mask = torch.zeros(6, dtype=torch.bool)
        mask[order[:place]] = True
        one = small.conditionals(x, mask.view(1, 2, 3)).flatten(1)[:, site]
        assert_close(one, theta.flatten(1)[:, site], rtol=1e-12, atol=1e-12)


def test_order_agnostic_rows_go_in_parts(small, monkeypatch):
    x = torch.randint(2, (5, 1, 2, 3)).double()
    whole = small(x)
    monkeypatch.setattr(type(small), "rows", 2)
    assert_close(small(x), whole, rtol=1e-12, atol=1e-12)


@pytest.fixture
def rows():
    """Images with other pixels known in each row: some, all, and none."""
    x = torch.randint(2, (5, 1, 2, 3)).double()
    known = torch.rand(5, 1, 2, 3) < 0.5
    known[3], known[4] = True, False
    return x, known


def test_order_agnostic_orders_are_those_of_the_seed_and_are_saved():
    first, same, other = (DeepNADE(10, (5, 5), orders=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.orders, same.orders)
    assert not torch.equal(first.orders, other.orders)
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.orders, other.orders)
    assert len(first.orders.unique(dim=0)) == 3


def test_order_agnostic_orders_can_be_given_and_set():
    orders = [[2, 0, 1], [0, 1, 2]]
    made = DeepNADE(3, (5, 5), orders=orders)
    assert made.orders.tolist() == orders
    made.orders = torch.tensor(orders[:1])
    assert made.orders.tolist() == orders[:1]
    assert "ensemble" in made.state_dict()
    for impossible in ([[0, 0, 1]], [[0, 1]], torch.zeros(1, 3).long(), []):
        with pytest.raises(
            ValueError,
            match=r"DeepNADE expects (an order that contains each of 0, \.\.\., 2|at least one)",
        ):
            made.orders = impossible
        with pytest.raises(ValueError, match="DeepNADE expects"):
            DeepNADE(3, (5, 5), orders=impossible)
    assert made.orders.tolist() == orders[:1]


def test_order_agnostic_samples_in_training_have_no_dropout():
    made = DeepNADE(6, (30, 30), dropout=0.5)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.manual_seed(0)
    x = Autoregressive(made).sample((64,))
    torch.manual_seed(0)
    assert torch.equal(Autoregressive(made.eval()).sample((64,)), x)


def test_order_agnostic_ensemble_is_the_mixture_of_joint_probabilities(small):
    x, orders = every(6).view(-1, 1, 2, 3), [torch.randperm(6).tolist() for _ in range(4)]
    alone = torch.stack([under(small, [order]).log_prob(x) for order in orders])
    assert_close(under(small, orders).log_prob(x).exp(), alone.exp().mean(0))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: DeepNADE(10, (0, 0)), r"expects each of hidden_dims from 1 to \d+; got 0"),
        (lambda: DeepNADE(10, ()), r"expects hidden_dims of at least one layer; got \(\)"),
        (lambda: DeepNADE(10, (5, 5), orders=0), r"expects orders from 1 to \d+; got 0"),
        (lambda: DeepNADE(0), r"expects each of shape from 1 to \d+; got 0"),
        (
            lambda: ConvNADE((1, 21, 40)),
            r"of more than 21 pixels on each side for kernels \[8, 4, 6, 7\]; got \(1, 21, 40\)",
        ),
        (lambda: ConvNADE((28, 28)), r"expects images \(C, H, W\)"),
        (lambda: ConvNADE((1, 4, 4), 0, [2]), r"expects width from 1 to \d+; got 0"),
        (lambda: ConvNADE((1, 4, 4), 2, []), "expects at least one kernel; got none"),
        (
            lambda: OrderAgnostic(net("DeepNADE")).sample(2, temperature=0.5),
            "no base noise to scale",
        ),
        (
            lambda: OrderAgnostic(net("DeepNADE")).model(torch.full((3, 10), 0.5)),
            "expects values 0 and 1; got 0.5",
        ),
        (
            lambda: OrderAgnostic(net("DeepNADE")).guide(torch.zeros(3, 9)),
            r"expects x of shape \(N, 10\); got \(3, 9\)",
        ),
        (
            lambda: Subset((2, 3)).log_prob(torch.zeros(3)),
            r"expects value of shape \(\*batch, 2, 3\); got \(3,\)",
        ),
    ],
)
def test_order_agnostic_refuses_impossible_settings(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_order_agnostic_refuses_a_network_of_one_order():
    with pytest.raises(TypeError, match=r"an order-agnostic network; got NADE\. Use DeepNADE"):
        OrderAgnostic(net("NADE"))
