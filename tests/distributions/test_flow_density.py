"""Flow as a distribution: temperature, context, mass, units, errors."""

import math

import pytest
import torch
from pyro.distributions import (
    Normal,
)
from registry import DISTRIBUTIONS, dense, flow, small_glow, stack
from torch.testing import assert_close

from pyro_exact.distributions import (
    Flow,
    StandardNormal,
)
from pyro_exact.transforms import ActNorm, Affine, Compose, Coupling, FixedAffine, Halves, Logit

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        torch.nn.init.normal_(p, std=std)
    return module


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def d(request):
    return request.param()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_standard_normal_is_a_normal_with_the_temperature_as_its_scale(temperature):
    x = torch.randn(5, 3)
    expected = Normal(0.0, temperature).log_prob(x).sum(-1)
    assert_close(StandardNormal(3)(temperature).log_prob(x), expected)


def test_flow_at_temperature_zero_samples_the_image_of_the_origin():
    model = flow()
    x = model(temperature=0).sample((4,))
    expected = model.bijection.forward_and_ladj(torch.zeros(3))[0]
    assert_close(x, expected.detach().expand(4, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf])
def test_flow_refuses_an_impossible_temperature(temperature):
    with pytest.raises(
        ValueError, match="expects temperature as a finite number that is at least 0; got"
    ):
        StandardNormal(3)(temperature)


def test_standard_normal_moves_its_origin_but_does_not_save_it():
    model = flow()
    assert not any("origin" in name for name in model.state_dict())
    assert model.base.origin.dtype == torch.float64
    model.float()
    x = model().sample((2,))
    assert x.dtype == torch.float32
    assert model().log_prob(x).dtype == torch.float32


@pytest.mark.gpu
def test_flow_moves_to_a_gpu():
    model = flow(2).cuda()
    context = torch.randn(5, 2, device="cuda")
    x = model.condition(context, temperature=0.5).sample()
    assert x.is_cuda
    assert model.condition(context).log_prob(x).is_cuda


def test_flow_temperature_scales_the_noise():
    model = flow()
    torch.manual_seed(5)
    x = model(temperature=0.3).sample((4,))
    torch.manual_seed(5)
    z = 0.3 * torch.randn(4, 3)
    assert_close(x, model.bijection.forward_and_ladj(z)[0].detach())


def test_flow_log_prob_is_the_change_of_variables():
    model = flow(2)
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    z, ladj = model.bijection.inverse_and_ladj(x, context)
    expected = Normal(0.0, 1.0).log_prob(z).sum(-1) + ladj
    assert_close(model.condition(context).log_prob(x), expected)


def test_flow_batch_is_that_of_the_context():
    d = flow(2).condition(torch.randn(4, 5, 2))
    assert (d.batch_shape, d.event_shape) == ((4, 5), (3,))
    assert d.log_prob(torch.randn(3)).shape == (4, 5)
    assert flow(2).condition(torch.randn(2)).batch_shape == ()


def test_flow_gradient_reaches_the_context():
    context = torch.randn(5, 2, requires_grad=True)
    flow(2).condition(context).log_prob(torch.randn(5, 3)).sum().backward()
    assert context.grad.count_nonzero() == context.numel()


def test_flow_refuses_a_missing_context():
    with pytest.raises(
        ValueError,
        match=r"expects a context of shape \(\*batch, 2\); got none. Call flow.condition",
    ):
        flow(2)()


def test_flow_refuses_a_context_that_is_not_needed():
    with pytest.raises(
        ValueError, match=r"expects no context; got a context of shape \(5, 2\). Call flow\(\)"
    ):
        flow().condition(torch.randn(5, 2))


def test_flow_refuses_a_context_of_another_size():
    with pytest.raises(
        ValueError, match=r"expects a context of shape \(\*batch, 2\); got \(5, 3\)"
    ):
        flow(2).condition(torch.randn(5, 3))


def test_flow_refuses_a_base_of_another_size():
    with pytest.raises(ValueError, match=r"expects 3 dimensions; got 4 in shape \(4,\)"):
        Flow(StandardNormal(4), stack(None).inv)()


def test_flow_on_a_bare_distribution_has_no_temperature():
    base = Normal(torch.zeros(3), torch.ones(3)).to_event(1)
    model = Flow(base, stack(None).inv)
    assert model().log_prob(torch.randn(5, 3)).shape == (5,)
    with pytest.raises(ValueError, match="A temperature needs a base that is a module"):
        model(temperature=0.5)


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


def test_flow_in_one_dimension_has_mass_one_and_samples_its_density():
    d = on_the_unit_cube(1)()
    x = midpoints(100_000)[:, None]
    density = d.log_prob(x).exp()
    assert_close(density.mean(), torch.ones(()), rtol=0, atol=1e-5)
    draws = d.sample((100_000,))
    for moment in (1, 2):
        powers = draws**moment
        error = powers.mean() - (density * x[:, 0] ** moment).mean()
        assert abs(error) < 5 * powers.std() / len(draws) ** 0.5


def test_flow_in_two_dimensions_has_mass_one():
    n = 500
    x = torch.cartesian_prod(midpoints(n), midpoints(n))
    mass = on_the_unit_cube(2)().log_prob(x).exp().mean()
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-4)


def test_flow_with_context_has_mass_one_for_every_context():
    coupling = dense(Halves(1), Affine(), 2)
    assert isinstance(coupling, Coupling)
    model = Flow(
        StandardNormal(1), Compose([Logit(1, margin=0, event_dim=1), perturb(coupling)]).inv
    )
    mass = (
        model.condition(torch.randn(3, 2)).log_prob(midpoints(100_000)[:, None, None]).exp().mean(0)
    )
    assert_close(mass, torch.ones(3), rtol=0, atol=1e-5)


def test_flow_has_the_units_of_the_data():
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


def test_flow_that_goes_the_other_way_says_so():
    with pytest.raises(
        ValueError,
        match=r"expects a bijection from noise, here of shape \(16,\), .*: pass glow.inv",
    ):
        Flow(StandardNormal(16), small_glow(None))()


def test_flow_refuses_what_is_no_bijection():
    with pytest.raises(TypeError, match=r"Flow expects a Bijection, .*; got list"):
        Flow(StandardNormal(2), [ActNorm(2)])
