"""The distribution of a causal network: densities, samples, completion, dtypes, errors."""

import copy

import numpy as np
import pyro
import pytest
import torch
from helpers.causal_nets import (
    BATCHES,
    DISCRETE,
    data,
    every,
    given_all,
    levels,
    log_p_of_every,
    log_p_of_sites,
    number,
)
from pyro import poutine
from pyro.distributions import Bernoulli
from registry import NETS, net
from scipy.stats import chisquare
from torch.distributions import constraints
from torch.testing import assert_close
from tqdm import tqdm

from pyro_exact.autoregressive import NADE, Autoregressive, CausalNet
from pyro_exact.likelihoods import (
    Likelihood,
)
from pyro_exact.models import Density

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=NETS)
def each(request):
    return net(request.param)


@pytest.fixture(params=DISCRETE)
def discrete(request):
    return net(request.param)


def test_autoregressive_log_prob_sums_the_sites(each):
    for batch in BATCHES:
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


def test_autoregressive_mass_over_many_values_is_one():
    """The law of networks sums over a few thousand values; here are 65536."""
    mass = log_p_of_every(Autoregressive(net("PixelCNNpp"))).exp().sum()
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-12)


def test_autoregressive_samples_are_as_frequent_as_they_should_be(discrete):
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


def test_autoregressive_frequency_test_sees_another_distribution():
    d, other = (Autoregressive(net("NADE")) for _ in range(2))
    counts = torch.bincount(number(d.sample((20_000,)), 2), minlength=1024)
    assert pvalue(counts, 20_000 * other.log_prob(every(d.net)).exp().detach()) < 1e-6


def test_autoregressive_samples_of_steps_and_of_whole_passes_are_the_same(each, monkeypatch):
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
def test_autoregressive_samples_of_captured_steps_are_the_same(each, monkeypatch):
    d = given_all(each)
    d = Autoregressive(each.cuda(), None if d.context is None else d.context.cuda())
    torch.manual_seed(3)
    captured = d.sample((16,))
    monkeypatch.setattr(type(each), "phase", CausalNet.phase)
    torch.manual_seed(3)
    assert_close(captured, d.sample((16,)), rtol=0, atol=1e-12)


def test_autoregressive_samples_of_rows_are_those_that_come_one_by_one(each):
    d = given_all(each)
    torch.manual_seed(3)
    many = d.sample((8,))
    torch.manual_seed(3)
    single = torch.cat([d.sample((1,)) for _ in range(8)])
    assert_close(single, many, rtol=0, atol=1e-12)


def test_autoregressive_keeps_observed_sites_and_draws_the_rest_given_them(discrete):
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


def test_autoregressive_completes_a_batch_row_by_row():
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


def test_autoregressive_expand_copies_and_runs_nothing(each):
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


def test_autoregressive_gives_each_row_its_context():
    made = net("MADE conditional ensemble")
    x, context = data(made, (6,))
    log_p = Autoregressive(made, context).log_prob(x)
    alone = [Autoregressive(made, c).log_prob(row) for c, row in zip(context, x, strict=True)]
    assert_close(log_p, torch.stack(alone))
    table = Autoregressive(made, context).log_prob(x[:, None])
    assert table.shape == (6, 6)
    assert_close(table.diagonal(), log_p)
    assert (table[:, 0] - table[:, 1]).abs().min() > 1e-3


def test_autoregressive_takes_values_of_any_dtype():
    d = Autoregressive(net("NADE"))
    x = torch.randint(2, (5, 10))
    for dtype in (torch.uint8, torch.float32, torch.bfloat16):
        assert torch.equal(d.log_prob(x.to(dtype)), d.log_prob(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_autoregressive_draws_rare_values_as_rarely_in_half_precision(dtype):
    made = NADE(1, 2)
    torch.nn.init.constant_(made.b, -8.0)
    ones, p = (
        Autoregressive(made.to(dtype)).sample((400_000,)).double().sum(),
        torch.tensor(-8.0).sigmoid(),
    )
    assert abs(ones - 400_000 * p) < 5 * (400_000 * p).sqrt()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autoregressive_draws_real_numbers_in_half_precision(dtype):
    x = Autoregressive(net("MADE gaussian").to(dtype)).sample((5,))
    assert (x.dtype, x.isfinite().all().item()) == (dtype, True)


@pytest.mark.parametrize("name", NETS)
def test_autoregressive_samples_under_autocast_are_those_without(name):
    torch.set_default_dtype(torch.float32)
    each = net(name)
    d = Autoregressive(each, None if each.context_shape is None else torch.ones(each.context_shape))
    torch.manual_seed(3)
    expected = d.sample((3,))
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(d.sample((3,)), expected)


@pytest.mark.parametrize("member", [0.0, True, "0", 1, -1])
def test_autoregressive_member_is_the_number_of_an_order(member):
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
def test_autoregressive_observed_and_mask_are_tensors_of_numbers(observed, mask):
    with pytest.raises(
        (TypeError, ValueError), match=r"Autoregressive.sample expects (observed|mask) .*; got"
    ):
        Autoregressive(net("NADE")).sample(observed=observed, mask=mask)


def test_autoregressive_sample_takes_the_steps_of_the_members_that_draw_rows():
    d = Autoregressive(net("MADE ensemble"))
    for rows, passes in ((0, {0}), (1, {10}), (2, {10, 20}), (100, {30})):
        assert d.sample((rows,)).shape == (rows, 10)
        assert d.passes in passes


def test_autoregressive_can_be_observed_in_a_plate_and_masked():
    d = Autoregressive(net("NADE"))
    x, keep = torch.randint(2, (6, 10)), torch.tensor([1, 1, 0, 1, 0, 0]).bool()

    def model():
        with pyro.plate("data", 6), poutine.mask(mask=keep):
            pyro.sample("x", d, obs=x)

    assert_close(poutine.trace(model).get_trace().log_prob_sum(), d.log_prob(x)[keep].sum())


def test_autoregressive_draws_one_member_of_an_ensemble_in_training_only():
    model = Density(Autoregressive(net("MADE ensemble")))
    x = torch.randint(2, (4, 10)).double()
    single = [Autoregressive(model.net, member=k).log_prob(x) for k in range(3)]
    seen = [model.log_weight(x) for _ in range(30)]
    indices = {next(k for k in range(3) if torch.equal(w, single[k])) for w in seen}
    assert indices == {0, 1, 2}
    assert_close(model.eval().log_weight(x), Autoregressive(model.net).log_prob(x))


def test_autoregressive_model_trains_its_own_network_when_copied():
    model = Density(Autoregressive(net("NADE")))
    other = copy.deepcopy(model)
    x = torch.randint(2, (4, 10)).double()
    before = model.log_weight(x)
    with torch.no_grad():
        other.net.b.add_(1)
    assert torch.equal(model.log_weight(x), before)
    assert not torch.equal(other.log_weight(x), before)
    assert other.distribution.net is other.net


def test_autoregressive_model_given_classes_keeps_what_else_was_asked_for():
    made = net("MADE conditional ensemble")
    made.dense.layers[0].eval()
    model = Density(Autoregressive(made, torch.zeros(2), member=1, validate_args=False))
    given = model.condition(torch.tensor([0, 1, 1]))
    x, context = torch.randint(2, (3, 10)).double(), torch.eye(2)[[0, 1, 1]]
    assert_close(given.log_weight(x), Autoregressive(made, context, member=1).log_prob(x))
    given.distribution.log_prob(x + 0.5)  # is not checked
    assert (given.training, made.training, made.dense.layers[0].training) == (True, True, False)


def test_autoregressive_model_says_what_it_cannot_score():
    model = Density(Autoregressive(net("NADE")))
    for program in (model.model, model.guide):
        with pytest.raises(ValueError, match=r"expects values 0 and 1; got 0\.5"):
            program(torch.full((3, 10), 0.5))


def test_autoregressive_model_has_no_temperature():
    with pytest.raises(
        ValueError, match=r"no base noise to scale; got temperature 0\.7\. Leave it out"
    ):
        Density(Autoregressive(net("NADE"))).sample(2, temperature=0.7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            torch.full((3, 10), 0.5),
            r"expects values 0 and 1; got 0\.5, and 30 of 30 elements are invalid",
        ),
        (torch.tensor([0.0] * 9 + [2.0]), "got 2, and 1 of 10"),
        (torch.tensor([torch.nan] + [0.0] * 9), "got nan, and 1 of 10"),
        (torch.zeros(3, 9), r"expects value of shape \(\*batch, 10\); got \(3, 9\)"),
        (torch.zeros(()), r"got \(\)"),
    ],
    ids=str,
)
def test_autoregressive_refuses_impossible_values(value, message):
    for made in (net("NADE"), net("MADE")):
        with pytest.raises(ValueError, match=message):
            Autoregressive(made).log_prob(value)
        with pytest.raises(ValueError, match=message):
            Autoregressive(made).sample(observed=value, mask=torch.tensor(True))


def test_autoregressive_validates_values_as_its_option_says():
    d = Autoregressive(net("NADE"), validate_args=False)
    x = torch.full((10,), 0.5)
    assert d.log_prob(x).isfinite()
    assert d.expand((3,)).log_prob(x).isfinite().all()


def test_autoregressive_validates_values_as_pyro_says():
    d = Autoregressive(NADE(3, 4))
    with pytest.raises(ValueError, match="values 0 and 1"):
        d.log_prob(torch.full((3,), 0.5))
    with pyro.validation_enabled(False):
        assert Autoregressive(NADE(3, 4)).log_prob(torch.full((3,), 0.5)).isfinite()


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


def test_autoregressive_site_may_be_a_pixel_with_all_its_channels():
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
    with pytest.raises(ValueError, match="equal in all channels of a pixel"):
        d.sample(observed=x[5], mask=torch.tensor([True, False])[:, None, None])
    with pytest.raises(
        ValueError, match=r"begins with the site shape of the likelihood, \(2,\); got \(3, 4\)"
    ):
        CausalNet.__init__(made, (3, 4), Pairs())


@pytest.mark.parametrize("width", [1, 40])
def test_autoregressive_whole_passes_find_the_sample_of_the_steps(monkeypatch, width):
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


def test_autoregressive_long_sample_shows_its_progress(capsys, monkeypatch):
    monkeypatch.setattr(
        "pyro_exact.autoregressive.distribution.tqdm",
        lambda sites, **options: tqdm(sites, **options | {"delay": 0, "mininterval": 0}),
    )
    Autoregressive(net("NADE")).sample(progress=True)
    assert "10/10" in capsys.readouterr().err
