"""Causal networks and their distributions: the laws over the registry, and what is special in each."""

import copy
from collections import Counter
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import Bernoulli, Categorical, Normal
from registry import LIKELIHOODS, NETS, net
from scipy.stats import chisquare
from torch.distributions import constraints
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close
from tqdm import tqdm

from pyro_exact import autoregressive
from pyro_exact.autoregressive import MADE, NADE, Autoregressive, CausalNet, DeepNADE, scans
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    GaussianLikelihood,
    Likelihood,
)
from pyro_exact.models import Density
from pyro_exact.nn import MaskedDense
from pyro_exact.ops.masked_product import BLOCKS

pytestmark = pytest.mark.usefixtures("double")

DISCRETE = [name for name in NETS if "gaussian" not in name]
BATCHES = [(), (3,), (3, 4), (0,)]


@pytest.fixture(params=NETS)
def each(request):
    return net(request.param)


@pytest.fixture(params=DISCRETE)
def discrete(request):
    return net(request.param)


def levels(likelihood):
    """How many values a number can take; none if it is real."""
    support = likelihood.support
    if support is constraints.boolean:
        return 2
    return support.upper_bound + 1 if support.is_discrete else None


def data(each, batch):
    """Values that the network takes, and a context if it needs one."""
    shape, count = (*batch, *each.event_shape), levels(each.likelihood)
    x = torch.randint(count, shape).double() if count else torch.randn(shape)
    return x, None if each.context_shape is None else torch.randn(*batch, *each.context_shape)


def given_all(each):
    """The distribution under one context, if the network needs one."""
    return Autoregressive(each, data(each, ())[1])


def by_steps(each, x, context, member, kind=None):
    """Theta of every site, from the steps of a class."""
    kind, theta, values = kind or type(each), {}, each.to_sites(x)
    dim = -1 - len(each.likelihood.site_shape)
    batch, order = x.shape[: x.dim() - len(each.event_shape)], each.orders[member]
    state, previous = kind.init_state(each, batch, context, member), None
    for index in range(each.num_steps):
        sites = order[each.group(index)]
        found, state = kind.step(each, state, previous)
        theta |= dict(zip(sites.tolist(), found.unbind(-2), strict=True))
        previous = values.index_select(dim, sites)
    return torch.stack([theta[site] for site in range(each.sites)], dim=-2).unflatten(-2, each.grid)


def log_p_of_sites(each, theta, x):
    """The log-probability of each site, (*batch, *grid)."""
    return each.likelihood.log_prob(
        theta, each.to_sites(x).unflatten(x.dim() - len(each.event_shape), each.grid)
    )


def every(each):
    """All values of a network of L levels, in the order of their numbers: (L^D, *event_shape)."""
    count, dim = levels(each.likelihood), each.event_shape.numel()
    digits = torch.arange(count**dim)[:, None] // count ** torch.arange(dim) % count
    return digits.double().view(-1, *each.event_shape)


@torch.no_grad()
def log_p_of_every(d):
    """The log-probabilities of all values of a network, a few thousand at a time."""
    return torch.cat([d.log_prob(x) for x in every(d.net).split(4096)])


def number(x, count):
    """The number of each row of digits, (n, D) -> (n)."""
    return (x.long() * count ** torch.arange(x.shape[1])).sum(-1)


# Laws of the networks
# -------------------------------------------------------------------------------------------------


def test_every_exported_network_is_registered():
    others = {"Autoregressive", "CausalNet", "Completion", "OrderAgnosticNet", "PixelNet", "scans"}
    assert {name.split()[0] for name in NETS} == set(autoregressive.__all__) - others


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("kind", [None, CausalNet], ids=["its own", "default"])
def test_the_steps_give_what_forward_gives(each, batch, kind):
    x, context = data(each, batch)
    for member in range(len(each.orders)):
        theta = each(x, context, member)
        assert theta.shape == (*batch, *each.grid, each.likelihood.num_params)
        assert_close(by_steps(each, x, context, member, kind), theta, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_recorded_step_is_every_step_of_its_phase(each):
    """What a CUDA graph relies on: operations that were recorded at one place give theta at the others."""
    x, context = data(each, (3,))
    values, theta = each.to_sites(x), each(x, context).flatten(1, -2)
    state, previous, recorded = each.init_state((3,), context), None, {}
    times = Counter(each.phase(done) for done in range(each.sites))
    for done, site in enumerate(each.orders[0].tolist()):
        phase = each.phase(done)
        if phase is None or times[phase] == 1:
            actual, state = each.step(state, previous)
        else:
            if phase not in recorded:
                copied = copy.deepcopy(state)
                recorded[phase] = make_fx(lambda state, previous: each.step(state, previous)[0])(
                    copied, previous
                )
            actual = recorded[phase](state, previous)
            state = state.next(state.cache)
        assert_close(actual.squeeze(1), theta[:, site], rtol=1e-10, atol=1e-10)
        previous = values[:, [site]]


def test_theta_depends_on_what_comes_before_and_on_nothing_else(each):
    x, context = data(each, (5,))
    for member, order in enumerate(each.orders.tolist()):
        theta = each(x, context, member).flatten(1, -2)
        for place, site in enumerate(order):
            moved, count = each.to_sites(x).clone(), levels(each.likelihood)
            moved[:, site] = (moved[:, site] + 1) % count if count else 1 - moved[:, site]
            after = each(each.from_sites(moved), context, member).flatten(1, -2)
            before, behind = order[: place + 1], order[place + 1 :]
            assert torch.equal(after[:, before], theta[:, before])
            assert (after[:, behind] != theta[:, behind]).any(0).all()


def test_the_gradient_is_that_of_the_plain_loop(each):
    x, context = data(each, (5,))
    if context is not None:
        context.requires_grad_()
    inputs = [*each.parameters(), *([] if context is None else [context])]
    for member in range(len(each.orders)):
        loop = by_steps(each, x, context, member)
        if not loop.requires_grad:  # steps that write into their state
            loop = by_steps(each, x, context, member, CausalNet)
        log_p = [log_p_of_sites(each, theta, x) for theta in (each(x, context, member), loop)]
        assert_close(*log_p, rtol=1e-8, atol=1e-8)
        gradients = [
            torch.autograd.grad(p.sum(), inputs, allow_unused=True, materialize_grads=True)
            for p in log_p
        ]
        assert_close(*gradients, rtol=1e-8, atol=1e-8)


def test_every_parameter_gets_a_gradient(each):
    x, context = data(each, (20,))
    if each.sites > 1:
        Autoregressive(each, context).log_prob(x).sum().backward()
        assert all(p.grad.any() for p in each.parameters())


def test_saved_masks_and_orders_come_back_whatever_the_seed(tmp_path):
    for made, other in [
        (MADE(10, (9, 9), masks=3, seed=1), MADE(10, (9, 9), masks=3, seed=2)),
        (NADE(10, 5, list(range(9, -1, -1))), NADE(10, 5)),
    ]:
        for p in made.parameters():
            torch.nn.init.normal_(p)
        torch.save(made.state_dict(), tmp_path / "net.pt")
        other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
        x, _ = data(made, (5,))
        assert torch.equal(Autoregressive(other).log_prob(x), Autoregressive(made).log_prob(x))


@pytest.mark.parametrize("name", ["MADE", "MADE gaussian", "NADE image"])
def test_initialize_makes_the_sites_independent_and_as_frequent_as_in_the_data(name):
    made = NETS[name]()
    if isinstance(made, NADE):
        torch.nn.init.zeros_(made.V)
    x = data(made, (200,))[0] * 0.75
    x = x if "gaussian" in name else (x > torch.rand(made.event_shape)).double()
    made.initialize(x)
    drawn = made.likelihood.draw(made(x), torch.rand(*x.shape, 1))
    assert_close(drawn.mean(0), x.mean(0), rtol=0, atol=0.2)
    expected = made.likelihood.log_prob(
        made.likelihood.marginal(x).expand(200, *made.event_shape, -1), x
    )
    assert_close(made.likelihood.log_prob(made(x), x), expected)


# Laws of the distribution
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_log_prob_sums_the_sites(each, batch):
    x, context = data(each, batch)
    joint = [
        log_p_of_sites(each, each(x, context, k), x).flatten(len(batch)).sum(-1)
        for k in range(len(each.orders))
    ]
    log_p = Autoregressive(each, context).log_prob(x)
    assert log_p.shape == batch
    assert_close(log_p.exp(), torch.stack(joint).exp().mean(0))
    for k, expected in enumerate(joint):
        assert_close(Autoregressive(each, context, member=k).log_prob(x), expected)


def test_the_mass_is_one_for_every_order_and_every_ensemble(discrete):
    d = given_all(discrete)
    members = range(len(discrete.orders))
    for member in [None, *members] if len(members) > 1 else members:
        mass = log_p_of_every(Autoregressive(discrete, d.context, member)).exp().sum()
        assert_close(mass, torch.ones(()), rtol=0, atol=1e-12)


def test_samples_are_as_frequent_as_they_should_be(discrete):
    d, count = given_all(discrete), levels(discrete.likelihood)
    cells = count ** min(
        discrete.event_shape.numel(), 10
    )  # of an image of more numbers, the first ones
    p = log_p_of_every(d).exp()
    expected = torch.zeros(cells).index_add(0, torch.arange(len(p)) % cells, 20_000 * p)
    drawn = number(d.sample((20_000,)).flatten(1), count) % cells
    assert pvalue(torch.bincount(drawn, minlength=cells), expected) > 1e-3


def pvalue(counts, expected):
    """Of Pearson's test, the cells with less than 5 expected draws thrown together."""
    rare = expected < 5
    cells = [torch.cat((values[~rare], values[rare].sum()[None])) for values in (counts, expected)]
    counts, expected = (cell[cells[1] > 0] for cell in cells)
    return chisquare(counts.numpy(), (expected * counts.sum() / expected.sum()).numpy()).pvalue


def test_the_frequency_test_sees_another_distribution():
    d, other = (Autoregressive(net("NADE")) for _ in range(2))
    counts = torch.bincount(number(d.sample((20_000,)), 2), minlength=1024)
    assert pvalue(counts, 20_000 * other.log_prob(every(d.net)).exp().detach()) < 1e-6


def test_samples_of_steps_and_of_whole_passes_are_the_same(each, monkeypatch):
    d = given_all(each)
    torch.manual_seed(3)
    fast = d.sample((16,))
    monkeypatch.setattr(type(each), "init_state", CausalNet.init_state)
    monkeypatch.setattr(type(each), "step", CausalNet.step)
    torch.manual_seed(3)
    slow = d.sample((16,))
    if levels(each.likelihood):
        assert torch.equal(fast, slow)
    assert_close(fast, slow, rtol=0, atol=1e-12)


@pytest.mark.gpu
def test_samples_of_captured_steps_are_the_same(each, monkeypatch):
    d = given_all(each)
    d = Autoregressive(each.cuda(), None if d.context is None else d.context.cuda())
    torch.manual_seed(3)
    captured = d.sample((16,))
    monkeypatch.setattr(type(each), "phase", CausalNet.phase)
    torch.manual_seed(3)
    assert_close(captured, d.sample((16,)), rtol=0, atol=1e-12)


def test_64_samples_are_those_that_come_one_by_one(each):
    d = given_all(each)
    torch.manual_seed(3)
    many = d.sample((64,))
    torch.manual_seed(3)
    single = torch.cat([d.sample((1,)) for _ in range(64)])
    assert_close(single, many, rtol=0, atol=1e-12)


def test_what_is_observed_is_kept_and_the_rest_is_conditional(discrete):
    d, count = (
        Autoregressive(discrete, given_all(discrete).context, member=0),
        levels(discrete.likelihood),
    )
    mask = torch.zeros(discrete.sites, *discrete.likelihood.site_shape, dtype=torch.bool)
    mask[discrete.orders[0, : discrete.sites // 2]] = True
    mask, x = discrete.from_sites(mask), d.sample()
    drawn = d.sample((5000,), observed=x.where(mask, torch.nan), mask=mask)
    assert torch.equal(drawn[:, mask], x[mask].expand(5000, -1))
    fitting = every(discrete)
    fitting = fitting[(fitting[:, mask] == x[mask]).all(-1)]
    p = d.log_prob(fitting).exp().detach()
    expected = torch.zeros(len(p)).index_add(0, number(fitting[:, ~mask], count), p / p.sum())
    counts = torch.bincount(number(drawn[:, ~mask], count), minlength=len(expected))
    assert pvalue(counts, 5000 * expected) > 1e-3


def test_a_batch_is_completed_row_by_row():
    d = Autoregressive(net("NADE image"))
    observed, mask = torch.randint(2, (4, 1, 2, 5)), torch.rand(1, 2, 5) < 0.5
    x = d.sample((3,), observed=observed, mask=mask)
    assert x.shape == (3, 4, 1, 2, 5)
    assert x.dtype == torch.float64
    assert torch.equal(x[..., mask], observed.double()[..., mask].expand(3, 4, -1))
    everything = d.sample(observed=observed, mask=torch.tensor(True))
    assert torch.equal(everything, observed.double())
    single = Autoregressive(net("MADE deep image").float())
    assert single.sample(observed=observed.double(), mask=mask).dtype == torch.float32


def test_expand_copies_and_runs_nothing(each):
    context = data(each, (3,))[1]
    d = Autoregressive(each, context)
    calls = []
    each.register_forward_hook(lambda *_: calls.append(1))
    wide = d.expand((4, *d.batch_shape))
    assert wide.net is each
    assert not calls
    assert context is None or wide.context.data_ptr() == context.data_ptr()
    narrow = Autoregressive(each, None if context is None else context[0]).expand((2, 3))
    assert narrow.sample((5,)).shape == (5, 2, 3, *each.event_shape)
    assert narrow.log_prob(data(each, ())[0]).shape == (2, 3)


def test_each_row_has_its_context():
    made = net("MADE conditional ensemble")
    x, context = data(made, (6,))
    log_p = Autoregressive(made, context).log_prob(x)
    alone = [Autoregressive(made, c).log_prob(row) for c, row in zip(context, x, strict=True)]
    assert_close(log_p, torch.stack(alone))
    table = Autoregressive(made, context).log_prob(x[:, None])
    assert table.shape == (6, 6)
    assert_close(table.diagonal(), log_p)
    assert (table[:, 0] - table[:, 1]).abs().min() > 1e-3


def test_the_dtype_of_the_values_does_not_matter():
    d = Autoregressive(net("NADE"))
    x = torch.randint(2, (5, 10))
    for dtype in (torch.uint8, torch.float32, torch.bfloat16):
        assert torch.equal(d.log_prob(x.to(dtype)), d.log_prob(x))


def test_float32_is_close_to_float64(each):
    x, context = data(each, (5,))
    exact = Autoregressive(each, context).log_prob(x)
    single = Autoregressive(each.float(), None if context is None else context.float())
    assert_close(single.log_prob(x).double(), exact, rtol=1e-4, atol=1e-4)
    assert single.sample().dtype == torch.float32


def test_under_autocast_nade_keeps_its_precision():
    d = Autoregressive(net("NADE").float())
    x = torch.randint(2, (5, 10))
    with torch.autocast("cpu", torch.bfloat16):
        inside = d.log_prob(x)
    assert_close(inside, d.log_prob(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rare_values_are_as_rare_in_half_precision(dtype):
    made = NADE(1, 2)
    torch.nn.init.constant_(made.b, -8.0)
    ones, p = (
        Autoregressive(made.to(dtype)).sample((400_000,)).double().sum(),
        torch.tensor(-8.0).sigmoid(),
    )
    assert abs(ones - 400_000 * p) < 5 * (400_000 * p).sqrt()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_real_numbers_can_be_drawn_in_half_precision(dtype):
    x = Autoregressive(net("MADE gaussian").to(dtype)).sample((5,))
    assert (x.dtype, x.isfinite().all().item()) == (dtype, True)


@pytest.mark.parametrize("name", NETS)
def test_samples_under_autocast_are_those_without(name):
    torch.set_default_dtype(torch.float32)
    each = net(name)
    d = Autoregressive(each, None if each.context_shape is None else torch.ones(each.context_shape))
    torch.manual_seed(3)
    expected = d.sample((3,))
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(d.sample((3,)), expected)


@pytest.mark.parametrize("member", [0.0, True, "0", 1, -1])
def test_a_member_is_the_number_of_an_order(member):
    with pytest.raises((TypeError, ValueError), match=r"Autoregressive expects member .*; got"):
        Autoregressive(net("NADE"), member=member)


@pytest.mark.parametrize(
    ("observed", "mask"),
    [
        (np.zeros(10), torch.ones(10)),
        (torch.zeros(10), [True] * 10),
        (torch.zeros(10), torch.full((10,), torch.nan)),
        (torch.zeros(10, dtype=torch.cfloat), torch.ones(10)),
    ],
    ids=["array", "list", "NaN", "complex"],
)
def test_what_is_observed_and_its_mask_are_tensors_of_numbers(observed, mask):
    with pytest.raises(
        (TypeError, ValueError), match=r"Autoregressive.sample expects (observed|mask) .*; got"
    ):
        Autoregressive(net("NADE")).sample(observed=observed, mask=mask)


def test_a_sample_takes_the_steps_of_the_members_that_draw_rows():
    d = Autoregressive(net("MADE ensemble"))
    for rows, passes in ((0, {0}), (1, {10}), (2, {10, 20}), (100, {30})):
        assert d.sample((rows,)).shape == (rows, 10)
        assert d.passes in passes


def test_it_can_be_observed_in_a_plate_and_masked():
    d = Autoregressive(net("NADE"))
    x, keep = torch.randint(2, (6, 10)), torch.tensor([1, 1, 0, 1, 0, 0]).bool()

    def model():
        with pyro.plate("data", 6), poutine.mask(mask=keep):
            pyro.sample("x", d, obs=x)

    assert_close(poutine.trace(model).get_trace().log_prob_sum(), d.log_prob(x)[keep].sum())


def test_one_member_of_an_ensemble_is_drawn_in_training_only():
    model = Density(Autoregressive(net("MADE ensemble")))
    x = torch.randint(2, (4, 10)).double()
    single = [Autoregressive(model.net, member=k).log_prob(x) for k in range(3)]
    seen = [model.log_weight(x) for _ in range(30)]
    indices = {next(k for k in range(3) if torch.equal(w, single[k])) for w in seen}
    assert indices == {0, 1, 2}
    assert_close(model.eval().log_weight(x), Autoregressive(model.net).log_prob(x))


def test_a_copied_model_trains_its_own_network():
    model = Density(Autoregressive(net("NADE")))
    other = copy.deepcopy(model)
    x = torch.randint(2, (4, 10)).double()
    before = model.log_weight(x)
    with torch.no_grad():
        other.net.b.add_(1)
    assert torch.equal(model.log_weight(x), before)
    assert not torch.equal(other.log_weight(x), before)
    assert other.distribution.net is other.net


def test_a_model_given_classes_keeps_what_else_was_asked_for():
    made = net("MADE conditional ensemble")
    made.dense.layers[0].eval()
    model = Density(Autoregressive(made, torch.zeros(2), member=1, validate_args=False))
    given = model.condition(torch.tensor([0, 1, 1]))
    x, context = torch.randint(2, (3, 10)).double(), torch.eye(2)[[0, 1, 1]]
    assert_close(given.log_weight(x), Autoregressive(made, context, member=1).log_prob(x))
    given.distribution.log_prob(x + 0.5)  # is not checked
    assert (given.training, made.training, made.dense.layers[0].training) == (True, True, False)


def test_a_model_says_what_it_cannot_score():
    model = Density(Autoregressive(net("NADE")))
    for program in (model.model, model.guide):
        with pytest.raises(ValueError, match=r"expects values 0 and 1; got 0\.5"):
            program(torch.full((3, 10), 0.5))


def test_an_autoregressive_model_has_no_temperature():
    with pytest.raises(
        ValueError, match=r"no base noise to scale; got temperature 0\.7\. Leave it out"
    ):
        Density(Autoregressive(net("NADE"))).sample(2, temperature=0.7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            torch.full((3, 10), 0.5),
            r"expects values 0 and 1; got 0\.5, and 30 of 30 elements are such",
        ),
        (torch.tensor([0.0] * 9 + [2.0]), "got 2, and 1 of 10"),
        (torch.tensor([torch.nan] + [0.0] * 9), "got nan, and 1 of 10"),
        (torch.zeros(3, 9), r"expects value of shape \(\*batch, 10\); got \(3, 9\)"),
        (torch.zeros(()), r"got \(\)"),
    ],
    ids=str,
)
def test_impossible_values_are_refused(value, message):
    for made in (net("NADE"), net("MADE")):
        with pytest.raises(ValueError, match=message):
            Autoregressive(made).log_prob(value)
        with pytest.raises(ValueError, match=message):
            Autoregressive(made).sample(observed=value, mask=torch.tensor(True))


def test_the_check_of_values_is_an_option_of_each_distribution():
    d = Autoregressive(net("NADE"), validate_args=False)
    x = torch.full((10,), 0.5)
    assert d.log_prob(x).isfinite()
    assert d.expand((3,)).log_prob(x).isfinite().all()


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 3), (2, 1)])
def test_scans_are_orders_in_which_every_pixel_but_the_first_follows_a_neighbour(shape):
    height, width = shape[-2:]
    orders = scans(shape)
    assert len(orders) == 8
    assert orders[0] == list(range(height * width))
    if min(height, width) > 1:
        assert len({tuple(order) for order in orders}) == 8
    for order in orders:
        assert sorted(order) == list(range(height * width))
        for k, pixel in enumerate(order[1:], 1):
            row, column = divmod(pixel, width)
            earlier = (divmod(other, width) for other in order[:k])
            assert any(abs(row - r) + abs(column - c) == 1 for r, c in earlier)


def test_every_mask_has_the_order_that_it_is_given():
    orders = scans((2, 3))[:3]
    made = MADE((1, 2, 3), (8,), masks=3, order=orders)
    assert made.orders.tolist() == orders
    again = MADE((1, 2, 3), (8,), masks=3)
    again.load_state_dict(made.state_dict())
    assert again.orders.tolist() == orders


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: NADE(3, 4, [0, 1, 1]),
            r"NADE expects an order that holds each of 0, \.\.\., 2 once; got \[0, 1, 1\]",
        ),
        (lambda: NADE(3, 4, [1, 2, 3]), "NADE expects an order"),
        (lambda: MADE(3, (4,), order=[0, 1]), "MADE expects an order"),
        (
            lambda: MADE(2, (4,), masks=2, order=[[0, 1], [1, 1]]),
            r"each of 0, \.\.\., 1 once; got \[1, 1\]",
        ),
        (
            lambda: MADE(2, (4,), masks=3, order=[[0, 1], [1, 0]]),
            "one order, or one for each of 3 masks; got 2",
        ),
        (
            lambda: scans((3, 2, 2)),
            r"scans expects the shape \(H, W\) or \(1, H, W\) of an image; got \(3, 2, 2\)",
        ),
        (lambda: scans((4,)), r"scans expects .*; got \(4,\)"),
        (lambda: scans((0, 4)), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: NADE(3, 0), r"expects width from 1 to \d+; got 0"),
        (lambda: NADE(0), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: MADE((1, 0, 3)), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: MADE(()), r"expects shape of at least one size; got \(\)"),
        (lambda: MADE(3, (0,)), r"expects each of hidden_dims from 1 to \d+; got 0"),
        (lambda: MADE(3, (4,), masks=0), r"expects masks from 1 to \d+; got 0"),
        (lambda: MADE(3, (4,), context_dim=0), r"expects context_dim from 1 to \d+; got 0"),
        (lambda: NADE(3, 4, iter([0, 1, 1])), r"got \[0, 1, 1\]"),
        (lambda: NADE(3, 4, torch.tensor([0, 1, 1])), r"got \[0, 1, 1\]"),
        (lambda: NADE(3, 4, torch.eye(3)), r"once; got \[1.0, 0.0, 0.0\]"),
        (lambda: NADE(3, 4, [[0, 1, 2], [2, 1, 0]]), "NADE expects one order; got 2"),
        (lambda: NADE(3, 4, 5), "once; got 5"),
        (lambda: NADE(3, 4, [None, 1, 2]), r"once; got \[None, 1, 2\]"),
        (lambda: MADE(3, (4,), order=iter([0, 1, 1])), r"once; got \[0, 1, 1\]"),
        (
            lambda: DeepNADE(3, (4, 4), orders=[0, 1]),
            r"DeepNADE expects an order .* once; got \[0, 1\]",
        ),
        (lambda: DeepNADE(3, (4, 4), orders=[]), "DeepNADE expects at least one order; got none"),
        (
            lambda: MADE(3, (4,), context_dim=2)(torch.zeros(3), torch.zeros(5)),
            r"shape \(\*batch, 2\); got \(5,\)",
        ),
        (
            lambda: MADE(3, (4,))(torch.zeros(5, 4)),
            r"expects x of shape \(\*batch, 3\); got \(5, 4\)",
        ),
        (
            lambda: NADE((1, 2, 2), 4)(torch.zeros(4)),
            r"expects x of shape \(\*batch, 1, 2, 2\); got \(4,\)",
        ),
        (
            lambda: MaskedDense(3, 1, masks=2),
            "one mask, or several and a seed; got dim 3, 2 masks and seed None",
        ),
        (
            lambda: Autoregressive(NADE(3, 4), torch.zeros(2)),
            r"expects no context for this network; got one of shape",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2)),
            r"expects a context of shape \(\*batch, 2\); got none",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2), torch.zeros(5, 3)),
            r"expects context of shape \(\*batch, 2\); got \(5, 3\)",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2), torch.zeros(())),
            r"expects context of shape \(\*batch, 2\); got \(\)",
        ),
        (lambda: Autoregressive(NADE(3, 4), member=1), "expects member from 0 to 0; got 1"),
        (
            lambda: Autoregressive(NADE(3, 4)).sample(observed=torch.zeros(3)),
            "observed and mask together",
        ),
        (
            lambda: Autoregressive(NADE(3, 4)).sample(mask=torch.ones(3)),
            "observed and mask together",
        ),
    ],
)
def test_what_cannot_be_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()


# NADE and MADE
# --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("hidden", [1, 3, 30])
def test_no_unit_of_made_is_dead(hidden, layers):
    made = MADE(10, [hidden] * layers, masks=2)
    for member in range(2):
        for layer in made.dense.layers[:-1]:
            degrees = layer.out_degrees[member]
            assert 1 <= degrees.min() <= degrees.max() <= 9
            assert layer.mask(member).any(1).all()
        assert made.dense.layers[-1].mask(member).any(0).all()


def test_the_masks_of_an_ensemble_differ_and_are_those_of_the_seed():
    first, same, other = (MADE(10, (30, 30), masks=2, seed=seed).state_dict() for seed in (1, 1, 2))
    for name, value in first.items():
        if "degrees" in name or "orders" in name:
            assert torch.equal(value, same[name])
            assert not torch.equal(value, other[name])
            assert not torch.equal(*value)


@pytest.mark.parametrize("masks", [1, 2])
def test_blocks_of_units_leave_out_what_none_of_them_sees(monkeypatch, masks):
    x = torch.randint(2, (5, 40)).double()
    results = []
    for small in (10**6, 0):
        monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", small)
        made = MADE(40, (50, 50), masks=masks)
        torch.manual_seed(3)
        for p in made.parameters():
            torch.nn.init.normal_(p, std=0.5)
        y = made(x)
        results.append((y, torch.autograd.grad(y.square().sum(), list(made.parameters()))))
    assert_close(*results)
    blocks = made.dense.layers[0].structure.blocks[0].blocks
    assert len(blocks) == (BLOCKS if masks == 1 else 1)
    if masks == 1:
        assert sum(block.reach for block in blocks) < 0.7 * BLOCKS * 40
        assert sum(block.reach - block.whole for block in blocks) < 0.2 * BLOCKS * 40


@pytest.fixture(params=[10**6, 0], ids=["whole", "in blocks"])
def small(request, monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", request.param)


@pytest.mark.usefixtures("small")
def test_masked_layers_learn_under_autocast():
    made = net("MADE").float()
    x = torch.randint(2, (20, 10)).float()
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = made(x).float().square().mean()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(made.parameters()))])
        )
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() < 0.02 * exact.norm()


def of_two_seeds(masks):
    """A network, and one of other masks that is yet to get its state."""
    given, other = (MADE(6, (40, 40), masks=masks, seed=seed) for seed in (1, 7))
    for p in given.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return given, other


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("masks", [1, 2])
def test_masks_are_those_that_inference_loaded(masks):
    given, made = of_two_seeds(masks)
    x = torch.randint(2, (5, 6)).double()
    expected = given(x)
    with torch.inference_mode():
        made.load_state_dict(given.state_dict())
        born = MADE(6, (40, 40), masks=masks, seed=7)
        born(x)
        born.load_state_dict(given.state_dict())
        for one in (made, born):
            assert_close(one(x), expected)
            assert_close(by_steps(one, x, None, 0), expected)
    made(x).sum().backward()  # what inference derived serves a gradient
    assert made.dense.layers[0].weight.grad is not None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("masks", [1, 2])
def test_masks_are_those_of_the_buffers_however_they_came(masks):
    given, other = of_two_seeds(masks)
    x = torch.randint(2, (5, 6)).double()
    expected = given(x)
    assert not torch.equal(other(x), expected)
    assert_close(torch.func.functional_call(other, given.state_dict(), (x,)), expected)
    with torch.no_grad():
        for mine, its in zip(other.state_dict().values(), given.state_dict().values(), strict=True):
            mine.copy_(its)
    for member in range(masks):
        assert_close(other(x, member=member), given(x, member=member))
        assert_close(by_steps(other, x, None, member), given(x, member=member))


@pytest.mark.parametrize("kind", [MADE, DeepNADE])
def test_dropout_is_for_training_only(kind):
    made, plain = (kind(10, (50,), dropout=p) for p in (0.5, 0.0))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    plain.load_state_dict(made.state_dict())
    x = torch.randint(2, (3, 10)).double()

    def theta(some):
        return some(x) if kind is MADE else some.conditionals(x, torch.arange(10) < 5)

    assert (theta(made) != theta(made)).any(1).all()
    assert_close(by_steps(made, x, None, 0), by_steps(plain, x, None, 0))
    assert_close(theta(made.eval()), theta(plain))
    with pytest.raises(ValueError, match=r"share in \[0, 1\); got 1"):
        kind(10, (50,), dropout=1.0)


def test_masked_layers_have_second_derivatives(monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    made = net("MADE gaussian")
    x = torch.randn(2, 4, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, *_: made(x), (x, *made.parameters()), atol=1e-8)


@pytest.mark.parametrize("kind", ["MADE", "MADE of an order", "NADE"])
def test_gradients_by_hand_serve_batches_of_gradients_and_functional_transforms(monkeypatch, kind):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    some, x = net(kind), torch.rand(10)
    assert kind == "NADE" or len(some.dense.layers[0].structure.blocks[0]) > 1
    jacobian = torch.autograd.functional.jacobian(some, x)
    assert_close(torch.autograd.functional.jacobian(some, x, vectorize=True), jacobian)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert_close(transform(some)(x), jacobian)
    rows = torch.rand(3, 10)
    assert_close(torch.func.vmap(some)(rows), some(rows))
    names = dict(some.named_parameters())

    def score(parameters, x):
        return torch.func.functional_call(some, parameters, (x,)).square().sum()

    by_row = torch.func.vmap(torch.func.grad(score), (None, 0))(names, rows)
    some.zero_grad()
    some(rows).square().sum().backward()
    for name, parameter in names.items():
        assert_close(by_row[name].sum(0), parameter.grad)


def test_masked_layers_have_derivatives_in_a_direction(monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    made, x, v = net("MADE"), torch.rand(10), torch.randn(10)
    with torch.autograd.forward_ad.dual_level():
        tangent = torch.autograd.forward_ad.unpack_dual(
            made(torch.autograd.forward_ad.make_dual(x, v))
        ).tangent
    assert_close(tangent, torch.autograd.functional.jacobian(made, x) @ v)


@pytest.mark.usefixtures("small")
def test_autocast_leaves_double_precision_alone():
    made, x = net("MADE"), torch.randint(2, (3, 10)).double()
    expected = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(made(x), expected)


def test_networks_of_several_seeds_are_one_by_the_functional_transforms():
    several = [MADE(5, (8, 8), order=torch.randperm(5), seed=seed) for seed in range(3)]
    for one in several:
        for p in one.parameters():
            torch.nn.init.normal_(p)
    x = torch.rand(4, 5)
    parameters, buffers = torch.func.stack_module_state(several)
    call = partial(torch.func.functional_call, several[0])
    stacked = torch.func.vmap(call, (0, None))({**parameters, **buffers}, (x,))
    assert_close(stacked, torch.stack([one(x) for one in several]))


@pytest.mark.usefixtures("small")
def test_a_compiler_takes_the_order_of_the_buffers():
    raster, other = MADE(5, (8,), seed=1), MADE(5, (8,), order=[3, 0, 4, 1, 2], seed=2)
    for p in other.parameters():
        torch.nn.init.normal_(p)
    call = torch.compile(
        partial(torch.func.functional_call, raster), backend="eager", fullgraph=True
    )
    x = torch.randint(2, (4, 5)).double()
    assert_close(call(other.state_dict(), (x,)), other(x))


@pytest.mark.parametrize("order", [[2, 0, 3, 1], [3, 2, 1, 0]])
def test_the_weights_of_a_single_large_mask_belong_to_places(order, monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    raster, ordered = MADE(4, (9,)), MADE(4, (9,), order=order)
    for p in raster.parameters():
        torch.nn.init.normal_(p)
    for mine, its in zip(ordered.parameters(), raster.parameters(), strict=True):
        mine.data.copy_(its)
    x = torch.randint(2, (6, 4)).double()
    assert_close(ordered(x)[:, order], raster(x[:, order]))
    ordered.initialize(x)
    marginal = ordered.likelihood.marginal(x)
    assert_close(ordered.dense.layers[-1].bias, marginal[order].flatten())
    blocks = MADE(784, (500,), order=list(range(783, -1, -1))).dense.layers[0].structure.blocks
    assert len(blocks[0]) == BLOCKS


@pytest.mark.parametrize("kind", [NADE, MADE, DeepNADE])
def test_scores_of_half_precision_are_summed_in_single(kind):
    size = 5 if kind is NADE else (5,)
    some, x = kind(784, size).bfloat16(), torch.zeros(784)
    expected = BernoulliLikelihood().log_prob(some(x.bfloat16()).float(), x.float()).sum()
    assert_close(Autoregressive(some).log_prob(x), expected)


def test_pyro_says_whether_values_are_checked():
    d = Autoregressive(NADE(3, 4))
    with pytest.raises(ValueError, match="values 0 and 1"):
        d.log_prob(torch.full((3,), 0.5))
    with pyro.validation_enabled(False):
        assert Autoregressive(NADE(3, 4)).log_prob(torch.full((3,), 0.5)).isfinite()


# Likelihoods
# ----------------------------------------------------------------------------------------------------------


def test_likelihoods_are_the_stock_distributions():
    theta = torch.randn(50, 4)
    digits = torch.randint(4, (50,)).double()
    assert_close(
        CategoricalLikelihood(4).log_prob(theta, digits), Categorical(logits=theta).log_prob(digits)
    )
    bits, reals = torch.randint(2, (50,)).double(), torch.randn(50)
    assert_close(
        BernoulliLikelihood().log_prob(theta[:, :1], bits),
        Bernoulli(logits=theta[:, 0]).log_prob(bits),
    )
    normal = Normal(theta[:, 0], theta[:, 1].exp())
    assert_close(GaussianLikelihood().log_prob(theta[:, :2], reals), normal.log_prob(reals))
    noise = torch.rand(50, 1)
    assert_close(normal.cdf(GaussianLikelihood().draw(theta[:, :2], noise)), noise[:, 0])
    assert torch.equal(
        BernoulliLikelihood().draw(theta[:, :1], noise) == 1, noise[:, 0] < theta[:, 0].sigmoid()
    )


def test_levels_are_drawn_where_the_noise_falls_into_their_part_of_the_interval():
    theta, noise = torch.randn(50, 4), torch.rand(50, 1)
    upper = theta.softmax(-1).cumsum(-1)
    drawn = CategoricalLikelihood(4).draw(theta, noise).long()[:, None]
    assert (noise < upper.gather(-1, drawn)).all()
    assert (noise >= (upper - theta.softmax(-1)).gather(-1, drawn) - 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_level_of_probability_zero_is_never_drawn(dtype):
    likelihood = CategoricalLikelihood(256)
    theta = torch.randn(2000, 256, dtype=dtype)
    theta[:, [0, 100, 255]] = -torch.inf
    for noise in (0.0, 1 - torch.finfo(dtype).eps / 2):
        drawn = likelihood.draw(theta, torch.full((2000, 1), noise, dtype=dtype))
        assert likelihood.log_prob(theta, drawn).isfinite().all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_least_noise_gives_a_finite_value(likelihood, dtype):
    made = likelihood()
    theta, noise = (
        torch.zeros(3, made.num_params, dtype=dtype),
        torch.zeros(3, made.num_noise, dtype=dtype),
    )
    assert made.draw(theta, noise).isfinite().all()


def test_real_data_that_is_constant_or_infinite():
    made = MADE(3, (5,), likelihood=GaussianLikelihood())
    x = torch.randn(50, 3) * torch.tensor([1.0, 0.0, 1e-3]) + torch.tensor([0.0, 0.3, 5.0])
    made.initialize(x)
    mean, log_std = made(x[:1]).squeeze(0).unbind(-1)
    assert_close(mean, x.mean(0))
    assert_close(
        log_std,
        torch.tensor([x[:, 0].std(correction=0).log(), 0.0, x[:, 2].std(correction=0).log()]),
    )
    with pytest.raises(ValueError, match="expects finite numbers; got inf, and 1 of 3"):
        Autoregressive(made).log_prob(torch.tensor([0.0, torch.inf, 0.0]))


@pytest.mark.parametrize("name", ["NADE", "MADE", "DeepNADE"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(10), r"starts from a batch of data; got shape \(10,\)"),
        (torch.zeros(0, 10), r"starts from a batch of data; got shape \(0, 10\)"),
        (torch.full((3, 10), torch.nan), "starts from values 0 and 1; got others"),
        (torch.zeros(3, 9), r"shape \(\*batch, 10\); got \(3, 9\)"),
    ],
    ids=str,
)
def test_what_a_network_cannot_start_from_is_refused(name, x, message):
    with pytest.raises(ValueError, match=message):
        net(name).initialize(x)


def test_a_batch_of_any_shape_is_a_start():
    x = torch.randint(2, (3, 4, 10)).double()
    made, same = net("NADE"), net("NADE")
    made.initialize(x)
    same.initialize(x.view(12, 10))
    assert torch.equal(made.b, same.b)


def test_the_marginals_of_constant_data_are_finite():
    for likelihood in (BernoulliLikelihood(), CategoricalLikelihood(3), GaussianLikelihood()):
        assert likelihood.marginal(torch.ones(5, 3)).isfinite().all()


def test_the_marginal_of_levels_is_how_often_they_come():
    x = torch.randint(4, (1000, 3)).double()
    frequencies = (x[..., None] == torch.arange(4)).double().mean(0)
    assert_close(CategoricalLikelihood(4).marginal(x).exp(), frequencies, rtol=0, atol=2e-3)


def test_saturated_logits_have_finite_log_probabilities():
    log_p = BernoulliLikelihood().log_prob(
        torch.tensor([[800.0], [-800.0]]), torch.tensor([0.0, 1.0])
    )
    assert_close(log_p, torch.tensor([-800.0, -800.0]))


# Whole passes, and sites that are pixels
# ------------------------------------------------------------------------------


class Pairs(Likelihood):
    """Two bits, of which the second depends on the first: a site with several numbers."""

    num_params, num_noise, site_shape = 3, 2, (2,)
    support, values = constraints.boolean, "values 0 and 1"

    def log_prob(self, theta, x):
        logits = torch.stack((theta[..., 0], theta[..., 1] + theta[..., 2] * x[..., 0]), dim=-1)
        return Bernoulli(logits=logits).log_prob(x).sum(-1)

    def draw(self, theta, noise):
        first = (noise[..., 0] < theta[..., 0].sigmoid()).double()
        second = (noise[..., 1] < (theta[..., 1] + theta[..., 2] * first).sigmoid()).double()
        return torch.stack((first, second), dim=-1)

    def marginal(self, x):
        raise NotImplementedError


class PairNet(CausalNet):
    """A masked linear map from pixels of two bits (2, 1, W) to the parameters of later ones."""

    def __init__(self, width):
        super().__init__((2, 1, width), Pairs())
        self.weight = torch.nn.Parameter(torch.randn(width, 3, width, 2))
        self.register_buffer("mask", torch.ones(width, width).tril(-1)[:, None, :, None])

    @property
    def orders(self):
        return torch.arange(self.sites)[None]

    def forward(self, x, context=None, member=0):
        theta = torch.einsum("opsc,...sc->...op", self.weight * self.mask, self.to_sites(x))
        return theta.unflatten(-2, self.grid)


def test_a_site_may_be_a_pixel_with_all_its_channels():
    made = PairNet(3)
    d, bits = Autoregressive(made), torch.arange(64)[:, None] >> torch.arange(6) & 1
    x = bits.double().view(64, 2, 1, 3)
    assert torch.equal(made.from_sites(made.to_sites(x)), x)
    p = d.log_prob(x).exp().detach()
    assert_close(p.sum(), torch.ones(()))
    drawn = d.sample((10_000,)).flatten(1).long()
    assert (
        pvalue(torch.bincount((drawn << torch.arange(6)).sum(-1), minlength=64), 10_000 * p) > 1e-3
    )
    observed = d.sample((2,), observed=x[5], mask=torch.tensor([True, True, False]))
    assert torch.equal(observed[..., :2], x[5, ..., :2].expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="the same for all channels of a pixel"):
        d.sample(observed=x[5], mask=torch.tensor([True, False])[:, None, None])
    with pytest.raises(
        ValueError, match=r"begins with that of the values of its likelihood, \(2,\); got \(3, 4\)"
    ):
        CausalNet.__init__(made, (3, 4), Pairs())


@pytest.mark.parametrize("width", [1, 40])
def test_whole_passes_find_the_sample_of_the_steps_in_fewer_passes(monkeypatch, width):
    d = Autoregressive(PairNet(width))
    with torch.no_grad():
        d.net.weight.mul_(0.3)
    observed, mask = d.sample((7,)), torch.rand(width) < 0.3
    assert not d.net.incremental
    results, passes = [], []
    for incremental in (False, True):
        monkeypatch.setattr(PairNet, "incremental", incremental)
        torch.manual_seed(3)
        results.append((d.sample((7,)), d.sample(observed=observed, mask=mask)))
        passes.append(d.passes)
    assert_close(*results, rtol=0, atol=0)
    assert passes[1] == width
    assert passes[0] < width / 2 or width == 1


def test_a_long_sample_shows_its_progress(capsys, monkeypatch):
    monkeypatch.setattr(
        "pyro_exact.autoregressive.distribution.tqdm",
        lambda sites, **options: tqdm(sites, **options | {"delay": 0, "mininterval": 0}),
    )
    Autoregressive(net("NADE")).sample(progress=True)
    assert "10/10" in capsys.readouterr().err
