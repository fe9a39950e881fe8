"""Density: exact likelihood, and initialisation of layers that start from data."""

import pytest
import torch
from helpers.two_pixels import perturb
from pyro.infer import Trace_ELBO
from registry import MODELS
from torch.testing import assert_close

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import planar, real_nvp
from pyro_exact.models import Density
from pyro_exact.transforms import ActNorm, Compose, FixedAffine, Permute

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return perturb(case.make(), 0.1)


def elbo(model, x):
    return -Trace_ELBO().loss(model.model, model.guide, x)


def test_density_elbo_of_an_empty_guide_is_the_log_likelihood():
    case = MODELS["Density"]
    model, x = perturb(case.make(), 0.3), case.data()
    expected = model.distribution().log_prob(x)
    assert_close(elbo(model, x), expected.sum().item(), rtol=1e-12, atol=0)
    assert_close(model.log_weight(x), expected)


def test_density_initialize_reaches_the_act_norm_behind_the_inverse():
    case = MODELS["Density"]
    model, x = case.make(), case.data()
    model.initialize(x)
    act_norm = model.distribution.bijection.inv.parts[0]
    assert_close(act_norm(x).mean(0), torch.zeros(2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("inverse", [False, True])
def test_density_initialize_says_which_way_round_a_flow_goes(inverse):
    flow, x = real_nvp(2, 2), MODELS["Density"].data()
    model = Density(Flow(StandardNormal(2), flow.inv if inverse else flow))
    if inverse:
        before = model.log_weight(x).mean()
        model.initialize(x)
        assert model.log_weight(x).mean() > before + 1
    else:
        with pytest.raises(ValueError, match=r"from data to noise; .* Reverse it"):
            model.initialize(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Compose([real_nvp(2).inv]),
        lambda: Compose([real_nvp(2).inv, FixedAffine(2.0, event_dim=1).inv]),
        lambda: Compose([ActNorm(2).inv, Permute([1, 0])]),
    ],
    ids=["one", "two", "a layer that is no inverse"],
)
def test_density_initialize_reaches_inverses_within_a_composition(make):
    x = 5 + 3 * torch.randn(64, 2)
    model = Density(Flow(StandardNormal(2), make()))
    model.initialize(x)
    assert_close(model.distribution.bijection.inv(x).mean(0), torch.zeros(2))


@pytest.mark.parametrize(
    "make",
    [lambda: Compose([real_nvp(2).inv]).inv, lambda: Compose([Permute([1, 0]).inv, ActNorm(2)])],
    ids=["an inverse of an inverse", "noise to data"],
)
def test_density_initialize_leaves_no_layer_in_silence(make):
    bijection = make()
    with pytest.raises(ValueError, match=r"expects layers that go from data to noise; got ActNorm"):
        Density(Flow(StandardNormal(2), bijection)).initialize(torch.randn(64, 2))
    assert not any(
        p.any()
        for layer in bijection.modules()
        if isinstance(layer, ActNorm)
        for p in layer.parameters()
    )


def test_density_of_a_flow_without_data_goes_either_way():
    Density(Flow(StandardNormal(2), planar(2, 3))).initialize(MODELS["Density"].data())


def test_density_sample_has_a_temperature():
    model = Density(Flow(StandardNormal(2), ActNorm(2).inv))
    assert_close(model.sample(5, temperature=0), torch.zeros(5, 2))
    assert model.sample(5, temperature=0.5).std() > 0
