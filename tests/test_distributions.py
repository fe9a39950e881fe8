"""Distributions: the laws over the registry, and what is special in each."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Normal,
)
from registry import DISTRIBUTIONS, LIKELIHOODS, dense, flow, small_dequantizer, small_glow, stack
from torch.testing import assert_close

from pyro_exact import distributions, likelihoods
from pyro_exact.autoregressive import Autoregressive, DeepNADE
from pyro_exact.distributions import (
    Flow,
    FlowDequantizer,
    IndependentSites,
    StandardNormal,
    Subset,
    UniformDequantizer,
)
from pyro_exact.likelihoods import BernoulliLikelihood
from pyro_exact.transforms import ActNorm, Affine, Compose, Coupling, FixedAffine, Halves, Logit

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        torch.nn.init.normal_(p, std=std)
    return module


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def d(request):
    return request.param()


# Laws
# -----------------------------------------------------------------------------------------------------------------


def test_every_exported_distribution_is_registered():
    registered = {name.split()[0] for name in DISTRIBUTIONS}
    assert registered == {*distributions.__all__, "Autoregressive"}


def test_every_exported_likelihood_is_registered():
    assert {name.split()[0] for name in LIKELIHOODS} == {
        name for name in likelihoods.__all__ if isinstance(getattr(likelihoods, name), type)
    } - {"Likelihood"}


@pytest.mark.parametrize("sample_shape", [(), (5,), (2, 5)], ids=str)
def test_shapes(d, sample_shape):
    x = d.sample(sample_shape)
    assert x.shape == (*sample_shape, *d.batch_shape, *d.event_shape)
    log_prob = d.log_prob(x)
    assert log_prob.shape == (*sample_shape, *d.batch_shape)
    assert log_prob.isfinite().all()


def test_expand_draws_every_row_by_itself(d):
    wide = d.expand((4, *d.batch_shape))
    x = wide.sample()
    assert (wide.batch_shape, wide.event_shape) == ((4, *d.batch_shape), d.event_shape)
    assert x.shape == (4, *d.batch_shape, *d.event_shape)
    assert_close(wide.log_prob(x), d.log_prob(x))
    assert not torch.allclose(x[0], x[1])


def test_a_batch_that_would_have_to_change_is_not_expanded(d):
    batch = (2, 1, *d.batch_shape)
    wide = d.expand(batch)
    assert wide.expand((4, *batch)).batch_shape == (4, *batch)
    assert wide.expand((2, 3, *d.batch_shape)).batch_shape == (2, 3, *d.batch_shape)
    for wrong in [(4, 1, *d.batch_shape), d.batch_shape]:
        with pytest.raises((ValueError, RuntimeError)):
            wide.expand(wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: None,
        lambda x: x.to(torch.complex64),
        lambda x: x[..., :0],
        lambda x: torch.cat((x, x), dim=-1),
    ],
    ids=["array", "list", "None", "complex", "no columns", "more columns"],
)
def test_a_value_that_is_no_tensor_of_events_is_refused(d, spoil):
    if isinstance(d, (Independent, LowRankMultivariateNormal, MixtureSameFamily)):
        return  # a stock distribution
    with pytest.raises((TypeError, ValueError)):
        d.log_prob(spoil(d.sample((2,))))


def test_it_has_a_repr(d):
    assert type(d).__name__ in repr(d)


def test_rows_of_a_batch_are_drawn_by_themselves():
    d = flow(2).condition(torch.ones(2, 2))
    assert not torch.allclose(*d.sample())


def test_samples_are_reproducible(d):
    torch.manual_seed(5)
    first = d.sample((3,))
    torch.manual_seed(5)
    assert torch.equal(d.sample((3,)), first)


def test_as_a_pyro_site(d):
    def model(x=None):
        with pyro.plate_stack("rows", d.batch_shape):
            return pyro.sample("x", d, obs=x)

    x = model()
    assert x.shape == d.batch_shape + d.event_shape
    trace = poutine.trace(model).get_trace(x)
    assert_close(trace.log_prob_sum(), d.log_prob(x).sum())


# StandardNormal
# -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_standard_normal_is_a_normal_with_the_temperature_as_its_scale(temperature):
    x = torch.randn(5, 3)
    expected = Normal(0.0, temperature).log_prob(x).sum(-1)
    assert_close(StandardNormal(3)(temperature).log_prob(x), expected)


def test_at_temperature_zero_every_sample_is_the_image_of_the_origin():
    model = flow()
    x = model(temperature=0).sample((4,))
    expected = model.bijection.forward_and_ladj(torch.zeros(3))[0]
    assert_close(x, expected.detach().expand(4, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(
        ValueError, match="expects temperature as a finite number that is at least 0; got"
    ):
        StandardNormal(3)(temperature)


def test_the_origin_is_not_saved_but_moves():
    model = flow()
    assert not any("origin" in name for name in model.state_dict())
    assert model.base.origin.dtype == torch.float64
    model.float()
    x = model().sample((2,))
    assert x.dtype == torch.float32
    assert model().log_prob(x).dtype == torch.float32


@pytest.mark.gpu
def test_a_flow_moves_to_a_gpu():
    model = flow(2).cuda()
    context = torch.randn(5, 2, device="cuda")
    x = model.condition(context, temperature=0.5).sample()
    assert x.is_cuda
    assert model.condition(context).log_prob(x).is_cuda


# Flow
# -----------------------------------------------------------------------------------------------------------------


def test_the_temperature_scales_the_noise():
    model = flow()
    torch.manual_seed(5)
    x = model(temperature=0.3).sample((4,))
    torch.manual_seed(5)
    z = 0.3 * torch.randn(4, 3)
    assert_close(x, model.bijection.forward_and_ladj(z)[0].detach())


def test_log_prob_is_the_change_of_variables():
    model = flow(2)
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    z, ladj = model.bijection.inverse_and_ladj(x, context)
    expected = Normal(0.0, 1.0).log_prob(z).sum(-1) + ladj
    assert_close(model.condition(context).log_prob(x), expected)


def test_the_batch_is_that_of_the_context():
    d = flow(2).condition(torch.randn(4, 5, 2))
    assert (d.batch_shape, d.event_shape) == ((4, 5), (3,))
    assert d.log_prob(torch.randn(3)).shape == (4, 5)
    assert flow(2).condition(torch.randn(2)).batch_shape == ()


def test_the_gradient_reaches_the_context():
    context = torch.randn(5, 2, requires_grad=True)
    flow(2).condition(context).log_prob(torch.randn(5, 3)).sum().backward()
    assert context.grad.count_nonzero() == context.numel()


def test_a_missing_context_is_refused():
    with pytest.raises(
        ValueError,
        match=r"expects a context of shape \(\*batch, 2\); got none. Call flow.condition",
    ):
        flow(2)()


def test_a_context_that_is_not_needed_is_refused():
    with pytest.raises(
        ValueError, match=r"takes no context; got one of shape \(5, 2\). Call flow\(\)"
    ):
        flow().condition(torch.randn(5, 2))


def test_a_context_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"expects a context of shape \(\*batch, 2\); got \(5, 3\)"
    ):
        flow(2).condition(torch.randn(5, 3))


def test_a_base_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"expects 3 dimensions; got 4 in shape \(4,\)"):
        Flow(StandardNormal(4), stack(None).inv)()


def test_a_bare_distribution_serves_as_base_but_has_no_temperature():
    base = Normal(torch.zeros(3), torch.ones(3)).to_event(1)
    model = Flow(base, stack(None).inv)
    assert model().log_prob(torch.randn(5, 3)).shape == (5,)
    with pytest.raises(ValueError, match="A temperature needs a base that is a module"):
        model(temperature=0.5)


# Mass 1, by the midpoint rule on the unit interval or square, which a logit takes to all of the
# reals -----------------


def midpoints(n):
    return (torch.arange(n) + 0.5) / n


def on_the_unit_cube(dim):
    swaps = [False, True] if dim > 1 else [False]
    sizes = [
        (halves.fixed_size, halves.free_size) for halves in map(Halves, [dim] * len(swaps), swaps)
    ]
    assert all(sizes)
    couplings = [dense(Halves(dim, swap=swap), Affine(), None) for swap in swaps]
    parts = perturb(Compose([ActNorm(dim), *couplings]), std=0.3)
    return Flow(StandardNormal(dim), Compose([Logit(1, margin=0, event_dim=1), parts]).inv)


def test_a_flow_in_one_dimension_has_mass_one_and_samples_its_density():
    d = on_the_unit_cube(1)()
    x = midpoints(100_000)[:, None]
    density = d.log_prob(x).exp()
    assert_close(density.mean(), torch.ones(()), rtol=0, atol=1e-5)
    draws = d.sample((100_000,))
    for moment in (1, 2):
        powers = draws**moment
        error = powers.mean() - (density * x[:, 0] ** moment).mean()
        assert abs(error) < 5 * powers.std() / len(draws) ** 0.5


def test_a_flow_in_two_dimensions_has_mass_one():
    n = 500
    x = torch.cartesian_prod(midpoints(n), midpoints(n))
    mass = on_the_unit_cube(2)().log_prob(x).exp().mean()
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-4)


def test_a_conditional_flow_has_mass_one_for_every_context():
    coupling = dense(Halves(1), Affine(), 2)
    assert isinstance(coupling, Coupling)
    model = Flow(
        StandardNormal(1), Compose([Logit(1, margin=0, event_dim=1), perturb(coupling)]).inv
    )
    mass = (
        model.condition(torch.randn(3, 2)).log_prob(midpoints(100_000)[:, None, None]).exp().mean(0)
    )
    assert_close(mass, torch.ones(3), rtol=0, atol=1e-5)


def test_the_units_are_those_of_the_data():
    """A flow over pixel levels 0 to 256 has mass 1 there: nobody adds log 256."""
    model = Flow(
        StandardNormal(1), Compose([Logit(256, margin=0, event_dim=1), perturb(ActNorm(1))]).inv
    )
    x = 256 * midpoints(100_000)[:, None]
    assert_close(256 * model().log_prob(x).exp().mean(), torch.ones(()), rtol=0, atol=1e-5)
    scaled = Flow(StandardNormal(1), FixedAffine(1 / 256, -0.5, event_dim=1))
    assert_close(
        scaled().log_prob(torch.tensor([-0.5])).exp(), torch.tensor(256 / math.sqrt(2 * math.pi))
    )


# UniformDequantizer
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("level", [0, 1, 255])
def test_noise_never_rounds_up_to_the_next_level(monkeypatch, level, dtype):
    def largest_below_one(x):
        return torch.nextafter(torch.ones_like(x), torch.zeros_like(x))

    monkeypatch.setattr(torch, "rand_like", largest_below_one)
    x = torch.full((2, 1, 3, 3), float(level), dtype=dtype)
    d = UniformDequantizer(x)
    v = d.sample()
    assert v.dtype == dtype
    assert torch.equal(v.floor(), x)
    assert torch.equal(d.log_prob(v), torch.zeros(2, dtype=dtype))


def test_noise_is_uniform():
    x = torch.tensor([[[0.0, 255.0]]])
    u = UniformDequantizer(x).sample((20_000,)) - x
    assert u.min() >= 0
    assert u.max() < 1
    assert_close(u.mean(0), torch.full_like(x, 0.5), rtol=0, atol=5 / math.sqrt(12 * 20_000))
    assert_close(u.var(0), torch.full_like(x, 1 / 12), rtol=0.03, atol=0)


def test_only_values_in_the_cell_have_density():
    x = torch.tensor([[[3.0, 7.0]]])
    d = UniformDequantizer(x)
    for value, expected in [
        ([3.0, 7.0], 0),
        ([3.999, 7.5], 0),
        ([4.0, 7.5], -math.inf),
        ([3.5, 6.999], -math.inf),
    ]:
        assert d.log_prob(torch.tensor([[value]])).item() == expected
    assert d.log_prob(torch.full((1, 1, 2), math.nan)).isnan()


def test_the_forced_noise_would_round_up():
    x = torch.tensor(255.0, dtype=torch.float32)
    assert x + torch.nextafter(torch.ones_like(x), torch.zeros_like(x)) == 256


def test_noise_that_is_learned_has_no_density_outside_of_the_cell_either():
    noise, x = FlowDequantizer(small_dequantizer(None)), torch.randint(4, (3, 1, 2, 4)).double()
    d = noise(x)
    v = x + 0.5
    assert torch.equal(d.log_prob(v), noise.flow.condition(x).log_prob(v))
    v[1, 0, 1, 2] += 1
    assert d.log_prob(v).isfinite().tolist() == [True, False, True]
    assert d.log_prob(v)[1] == -math.inf


def test_a_flow_that_goes_the_other_way_says_so():
    with pytest.raises(
        ValueError,
        match=r"expects a bijection from noise, here of shape \(16,\), .*: pass glow.inv",
    ):
        Flow(StandardNormal(16), small_glow(None))()


def test_a_flow_of_something_else_is_refused():
    with pytest.raises(TypeError, match=r"Flow expects a Bijection, such as .*; got list"):
        Flow(StandardNormal(2), [ActNorm(2)])


def test_an_empty_batch_of_images():
    d = UniformDequantizer(torch.zeros(0, 1, 2, 2))
    assert d.log_prob(d.sample()).shape == (0,)


@pytest.mark.parametrize("event_dim", [0, 1, 2, 3])
def test_the_event_dim_is_an_option(event_dim):
    x = torch.randint(256, (2, 3, 4)).double()
    d = UniformDequantizer(x, event_dim)
    assert d.batch_shape + d.event_shape == x.shape
    assert len(d.event_shape) == event_dim
    wrong = x.clone()
    wrong[1, 2, 3] += 1
    expected = torch.zeros(d.batch_shape)
    expected[(-1,) * len(d.batch_shape)] = -math.inf
    assert torch.equal(d.log_prob(wrong + 0.5), expected)
    assert d.expand((5, *d.batch_shape)).sample().shape == (5, *x.shape)


def test_the_support_is_the_cell():
    x = torch.tensor([[[3.0, 7.0]]])
    support = UniformDequantizer(x).support
    assert support.check(x + 0.5).all()
    assert not support.check(x + 1).any()


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (
            lambda: Autoregressive(DeepNADE(3, hidden_dims=(2, 2))),
            "Autoregressive(DeepNADE, batch_shape=(), event_shape=(3,))",
        ),
        (
            lambda: DeepNADE(2, hidden_dims=(2, 2)).condition_on(torch.zeros(2, 2), torch.eye(2)),
            "Completion(DeepNADE, batch_shape=(2,), event_shape=(2,))",
        ),
        (lambda: Subset((1, 2), batch=(4,)), "Subset(batch_shape=(4,), event_shape=(1, 2))"),
        (
            lambda: IndependentSites(torch.zeros(5, 2, 1), BernoulliLikelihood(), grid_dim=1),
            "IndependentSites(BernoulliLikelihood, batch_shape=(5,), event_shape=(2,))",
        ),
        (
            lambda: UniformDequantizer(torch.zeros(5, 1, 2, 2)),
            "UniformDequantizer(batch_shape=(5,), event_shape=(1, 2, 2))",
        ),
    ],
    ids=["Autoregressive", "Completion", "Subset", "IndependentSites", "UniformDequantizer"],
)
def test_a_distribution_shows_its_shapes(make, shown):
    assert repr(make()) == shown
