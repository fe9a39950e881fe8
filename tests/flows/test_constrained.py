"""Flows over intervals, positive data, simplices, circles and mixed columns, as stock Pyro sites."""

import copy
import math

import pyro
import pytest
import torch
from pyro.distributions import Normal
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import SigmoidTransform, StickBreakingTransform
from torch.testing import assert_close

from pyro_exact.distributions import Flow, Mixture, StandardNormal, UniformBox
from pyro_exact.flows import bounded, circular_spline, constrained, maf
from pyro_exact.transforms import Compose, FixedAffine, Interval, Permute, Stock


def perturbed(flow, std=0.05):
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return flow


CAT = constraints.cat([constraints.positive, constraints.unit_interval, constraints.real], dim=-1)
PRIORS = {
    "bounded": lambda: Flow(StandardNormal(2), bounded(maf(2), -1.0, torch.tensor([2.0, 5.0])).inv),
    "positive": lambda: Flow(StandardNormal(2), constrained(maf(2), constraints.positive).inv),
    "simplex": lambda: Flow(StandardNormal(2), constrained(maf(2), constraints.simplex).inv),
    "mixed": lambda: Flow(StandardNormal(3), constrained(maf(3), CAT).inv),
    "torus": lambda: Flow(UniformBox(2), circular_spline(2, 2, 4).inv),
    "mixture": lambda: Mixture([PRIORS["positive"](), PRIORS["positive"]()]),
}
every_prior = pytest.mark.parametrize("make", PRIORS.values(), ids=list(PRIORS))


@every_prior
def test_the_support_is_declared_and_holds_every_sample(make):
    prior = perturbed(make())()
    x = prior.sample((200,))
    assert prior.support.check(x).all()
    assert prior.log_prob(x).isfinite().all()
    assert prior.support.check(biject_to(prior.support)(torch.randn(50, *free_shape(prior)))).all()


def free_shape(prior):
    return biject_to(prior.support).inverse_shape(prior.event_shape)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("bounded", [0.0, 5.1]),
        ("bounded", [-1.1, 0.0]),
        ("positive", [1.0, -0.1]),
        ("simplex", [0.5, 0.5, 0.5]),
        ("mixed", [1.0, 1.5, 0.0]),
        ("torus", [3.5, 0.0]),
    ],
)
def test_a_value_outside_of_the_support_is_refused(name, outside):
    with pytest.raises(ValueError, match="within the support"):
        PRIORS[name]()().log_prob(torch.tensor(outside))


@every_prior
def test_an_automatic_guide_learns_a_site_with_such_a_prior(make):
    pyro.set_rng_seed(0)
    prior = make().requires_grad_(False)

    def model():
        x = pyro.sample("x", prior())
        pyro.sample("y", Normal(x.sum(), 0.1), obs=torch.tensor(1.0))

    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step() for _ in range(5)]
    assert all(math.isfinite(loss) for loss in losses)
    assert prior().support.check(guide.median()["x"])


@pytest.mark.parametrize("name", ["bounded", "simplex"])
def test_nuts_samples_a_site_with_such_a_prior(name):
    pyro.set_rng_seed(0)
    prior = PRIORS[name]().requires_grad_(False)

    def model():
        x = pyro.sample("x", prior())
        pyro.sample("y", Normal(x[..., 0], 0.1), obs=torch.tensor(0.5))

    mcmc = MCMC(NUTS(model, max_tree_depth=4), 10, warmup_steps=10, disable_progbar=True)
    mcmc.run()
    samples = mcmc.get_samples()["x"]
    assert prior().support.check(samples).all()
    assert abs(samples[:, 0].mean().item() - 0.5) < 0.4


def test_bounded_identity_is_the_stock_logistic():
    """Without a flow between, a bounded flow is a logistic-normal distribution."""
    flow = bounded(FixedAffine(1.0, 0.0, event_dim=1), 0.0, 1.0, shape=1)
    x = torch.linspace(0.01, 0.99, 50).unsqueeze(-1)
    stock = torch.distributions.TransformedDistribution(
        Normal(torch.zeros(1), 1.0).to_event(1), [SigmoidTransform()]
    )
    assert_close(Flow(StandardNormal(1), flow.inv)().log_prob(x), stock.log_prob(x))


def test_the_density_of_a_bounded_flow_has_a_mass_of_one():
    prior = perturbed(Flow(StandardNormal(1), bounded(maf(1), -2.0, 3.0).inv))()
    x = torch.linspace(-2, 3, 20_001)[1:-1].unsqueeze(-1)
    assert abs(prior.log_prob(x).exp().mean().item() * 5 - 1) < 1e-3


def test_the_density_on_a_torus_has_a_mass_of_one_and_no_jump_at_the_cut():
    prior = perturbed(Flow(UniformBox(2), circular_spline(2, 4, 5).inv).double())()
    side = torch.linspace(-math.pi, math.pi, 301, dtype=torch.float64)[:-1]
    grid = torch.cartesian_prod(side, side)
    mass = prior.log_prob(grid).exp().mean() * (2 * math.pi) ** 2
    assert abs(mass.item() - 1) < 1e-3

    end = torch.full_like(side, math.pi - 1e-9)
    left, right = torch.stack((-end, side), dim=1), torch.stack((end, side), dim=1)
    for one, other in ((left, right), (left.flip(1), right.flip(1))):
        assert_close(prior.log_prob(one), prior.log_prob(other), rtol=1e-5, atol=1e-5)


# Interval
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_an_interval_is_exact_next_to_its_ends(dtype):
    layer = Interval(-1.0, 3.0, 6).to(dtype)
    x = torch.tensor([-700.0, -80.0, -12.0, 0.0, 12.0, 80.0], dtype=dtype)
    y, ladj = layer.forward_and_ladj(x)
    assert layer.codomain.check(y)
    assert ladj.isfinite()
    exact = 4 * x.double().sigmoid()
    assert_close(y.double() + 1, exact, rtol=1e-6, atol=1e-6)
    assert ((y >= -1) & (y <= 3)).all()


def test_an_interval_at_and_beyond_its_ends():
    layer = Interval(0.0, 1.0, 4)
    x, _ = layer.inverse_and_ladj(torch.tensor([0.0, 1.0, -0.1, 1.1]))
    assert x[:2].tolist() == [-math.inf, math.inf]
    assert x[2:].isnan().all()


def test_the_bounds_move_with_the_layer_also_within_a_compose():
    flow = bounded(maf(2), 0.0, torch.tensor([1.0, 2.0]))
    moved = copy.deepcopy(flow).double()
    assert moved.domain.base_constraint.upper_bound.dtype == torch.float64
    assert flow.domain.base_constraint.upper_bound.dtype == torch.float32
    assert moved.inv.codomain.check(torch.tensor([0.5, 1.5], dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval(1.0, 1.0, 2), "Interval expects low below high"),
        (lambda: Interval(0.0, math.inf, 2), "Interval expects high to be finite"),
        (
            lambda: bounded(FixedAffine(2.0), 0, 1),
            "bounded expects a shape for a flow of events of any",
        ),
        (lambda: UniformBox(2, 1.0, 0.0), "UniformBox expects low below high"),
    ],
)
def test_bad_bounds_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Stock transforms
# ----------------------------------------------------------------------------------------------------


def test_a_chain_of_our_layers_and_stock_transforms():
    chain = Compose([Permute([1, 0]), Stock(StickBreakingTransform(), 2)])
    d = Flow(StandardNormal(2), chain)()
    x = d.sample((5,))
    assert x.shape == (5, 3)
    assert_close(x.sum(-1), torch.ones(5))

    stock = torch.distributions.TransformedDistribution(
        Normal(torch.zeros(2), 1.0).to_event(1), [StickBreakingTransform()]
    )
    assert_close(d.log_prob(x), stock.log_prob(x))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Stock(SigmoidTransform, 2), TypeError, "Stock expects a transform"),
        (
            lambda: Stock(torch.distributions.transforms.SoftmaxTransform(), 2),
            ValueError,
            "Stock expects a bijective transform",
        ),
        (
            lambda: Stock(torch.distributions.transforms.CorrCholeskyTransform(), ()),
            ValueError,
            "Stock expects shape of at least one size",
        ),
    ],
)
def test_stock_refuses_other_things(make, error, message):
    with pytest.raises(error, match=message):
        make()
