"""Completion given any part, by networks of any order."""

import pyro
import pytest
import torch
from helpers.any_order import SMALL, every, small_net, under
from pyro import poutine
from registry import net
from scipy.stats import chisquare
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=SMALL)
def small(request):
    return small_net(request.param)


@pytest.mark.parametrize("known", [[], [4], [5, 0, 2], [0, 1, 2, 3, 4]], ids=str)
def test_condition_on_is_the_conditional_of_orders_that_begin_alike(small, known):
    mask = torch.zeros(6, dtype=torch.bool)
    mask[known] = True
    x = every(6)
    given = small.condition_on(x[37].where(mask, torch.nan).view(1, 2, 3), mask.view(1, 2, 3))
    conditional = given.log_prob(x[:, ~mask])
    orders = [
        [*known, *(site for site in order if site not in known)] for order in small.orders.tolist()
    ]
    joint = under(small, orders).log_prob(x.view(-1, 1, 2, 3))
    fitting = (x[:, mask] == x[37, mask]).all(-1)
    expected = joint[fitting] - joint[fitting].logsumexp(0)
    assert_close(conditional[fitting], expected, rtol=1e-10, atol=1e-10)


def test_condition_on_takes_one_pass_for_each_unknown(small):
    mask = torch.tensor([[[True, False, True], [False, True, True]]])
    observed = torch.randint(2, (4, 1, 2, 3))
    d = small.condition_on(observed, mask)
    assert (d.batch_shape, d.event_shape) == ((4,), (2,))
    assert d.sample((3,)).shape == (3, 4, 2)
    assert d.passes in {2 * drawing for drawing in range(1, len(small.orders) + 1)}
    single = small.condition_on(observed[0], mask)
    single.sample()
    assert single.passes == 2


@pytest.mark.parametrize(
    ("known", "wanted"), [([], [3]), ([4], [0, 5]), ([5, 0, 2], [1, 3])], ids=str
)
def test_condition_on_sums_out_what_is_neither_known_nor_wanted(small, known, wanted):
    mask, chosen = torch.zeros(2, 6, dtype=torch.bool)
    mask[known], chosen[wanted] = True, True
    x = every(6)
    given = small.condition_on(x[37].view(1, 2, 3), mask.view(1, 2, 3), chosen.view(1, 2, 3))
    values = every(len(wanted))
    rest = [site for site in range(6) if site not in {*known, *wanted}]
    orders = [
        [*known, *(s for s in order if s in wanted), *rest] for order in small.orders.tolist()
    ]
    joint = under(small, orders).log_prob(x.view(-1, 1, 2, 3)).exp()
    fitting = (x[:, known] == x[37, known]).all(-1)
    found = torch.stack(
        [joint[fitting & (x[:, sorted(wanted)] == v).all(-1)].sum() for v in values]
    )
    assert_close(given.log_prob(values).exp(), found / joint[fitting].sum())
    assert given.sample((5,)).shape == (5, len(wanted))


@pytest.mark.parametrize("wanted", [torch.zeros(10), torch.ones(10), torch.ones(9)], ids=str)
def test_condition_on_refuses_what_cannot_be_wanted(wanted):
    with pytest.raises(
        ValueError, match=r"wanted as a mask of shape \(10,\) with unobserved sites only"
    ):
        net("DeepNADE").condition_on(torch.zeros(10), torch.arange(10) < 3, wanted)


def test_condition_on_can_be_a_pyro_site(small):
    mask, observed = torch.arange(6).view(1, 2, 3) < 3, torch.randint(2, (4, 1, 2, 3))
    with pyro.plate("data", 4), poutine.trace() as trace:
        rest = pyro.sample("rest", small.condition_on(observed, mask))
    assert rest.shape == (4, 3)
    assert trace.trace.log_prob_sum().isfinite()


@pytest.mark.parametrize(
    ("observed", "mask", "message"),
    [
        (
            torch.zeros(10),
            torch.ones(10),
            r"at least one unobserved site; got shape \(10,\) and 10 observed sites",
        ),
        (torch.zeros(10), torch.zeros(9), r"expects a mask of shape \(10,\)"),
        (torch.zeros(9), torch.zeros(10), r"expects x of shape \(\*batch, 10\); got \(9,\)"),
        (
            torch.full((10,), 0.5),
            torch.arange(10) < 3,
            "expects values 0 and 1 where the mask is True",
        ),
    ],
    ids=str,
)
def test_condition_on_refuses_what_cannot_be_observed(observed, mask, message):
    with pytest.raises(ValueError, match=message):
        net("DeepNADE").condition_on(observed, mask)


def test_condition_on_takes_a_list_as_a_mask(small):
    x = torch.zeros(1, 2, 3)
    masks = (
        [[[True, False, False], [False, False, True]]],
        torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]),
    )
    one, same = (small.condition_on(x, mask).log_prob(torch.ones(4)) for mask in masks)
    assert torch.equal(one, same)


@pytest.fixture
def rows():
    """Images with other pixels known in each row: some, all, and none."""
    x = torch.randint(2, (5, 1, 2, 3)).double()
    known = torch.rand(5, 1, 2, 3) < 0.5
    known[3], known[4] = True, False
    return x, known


def test_completion_with_a_mask_for_each_row_has_a_conditional_for_each(small, rows):
    x, known = rows
    d = small.condition_on(x.where(known, torch.nan), known)
    drawn = d.sample((3,))
    assert (d.batch_shape, d.event_shape, drawn.shape) == ((5,), (1, 2, 3), (3, 5, 1, 2, 3))
    assert torch.equal(drawn.where(known, 0), x.where(known, 0).expand(3, -1, -1, -1, -1))
    log_p = d.log_prob(drawn)
    for i in (0, 1, 2, 4):
        one = small.condition_on(x[i], known[i])
        assert_close(log_p[:, i], one.log_prob(drawn[:, i, ~known[i]]), rtol=1e-10, atol=1e-10)
    assert torch.equal(log_p[:, 3], torch.zeros(3))  # where all is known, nothing is left to chance


def test_completion_draws_rows_as_often_as_is_likely(small, rows):
    x, known = rows
    d = small.condition_on(x[:1], known[:1])
    drawn = d.sample((4000,))
    unique, counts = drawn.unique(dim=0, return_counts=True)
    expected = 4000 * d.log_prob(unique).exp().squeeze(-1)
    assert (
        chisquare(counts.numpy(), (expected / expected.sum() * 4000).detach().numpy()).pvalue > 1e-3
    )


def test_completion_scores_wanted_sites_of_each_row_and_sums_out_the_rest(small, rows):
    x, known = rows
    wanted = ~known & (torch.rand(known.shape) < 0.5)
    wanted[0] = ~known[0] & (torch.arange(6).view(1, 2, 3) == (~known[0]).flatten().nonzero()[0])
    d = small.condition_on(x, known, wanted)
    drawn = d.sample()
    assert torch.equal(drawn.where(~wanted, 0), x.where(~wanted, 0))
    one = small.condition_on(x[0], known[0], wanted[0])
    assert_close(d.log_prob(drawn)[0], one.log_prob(drawn[0, wanted[0]]))


def test_completion_of_a_value_that_contradicts_what_is_observed(small, rows):
    x, known = rows
    d, value = small.condition_on(x, known), x.clone()
    value[3, 0, 0, 0] = 1 - value[3, 0, 0, 0]
    assert d.log_prob(value).isneginf().tolist() == [False, False, False, True, False]


def test_completion_of_missing_data_can_be_a_pyro_site(small, rows):
    x, known = rows
    with pyro.plate("data", 5), poutine.trace() as trace:
        completed = pyro.sample("x", small.condition_on(x, known))
    assert completed.shape == x.shape
    assert trace.trace.log_prob_sum().isfinite()


@pytest.mark.parametrize(
    ("x", "known", "wanted"),
    [
        (torch.full((2, 10), 0.5), torch.ones(2, 10), None),
        (torch.zeros(2, 10), torch.ones(3, 10), None),
        (torch.zeros(2, 10), torch.ones(2, 9), None),
        (torch.zeros(2, 10), torch.full((2, 10), 0.5), None),
        (torch.zeros(2, 10), torch.ones(2, 10), torch.ones(2, 10)),
    ],
    ids=["values", "rows", "sites", "no mask", "wanted"],
)
def test_completion_refuses_what_cannot_be_missing(x, known, wanted):
    with pytest.raises(ValueError, match=r"expects .*; got"):
        net("DeepNADE").condition_on(x, known, wanted)


@pytest.mark.parametrize("mask", ["a", None, [[1], [1, 0]]])
def test_completion_refuses_what_is_no_mask(mask):
    with pytest.raises(TypeError, match="expects mask as a boolean tensor; got"):
        net("DeepNADE").condition_on(torch.zeros(10), mask)
