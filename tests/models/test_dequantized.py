"""Dequantized: bounds on the likelihood of levels."""

import math

import pyro
import pytest
import torch
from helpers.two_pixels import bounds, exact_log_likelihood, perturb, two_pixels
from pyro import poutine
from pyro.infer import Trace_ELBO
from registry import MODELS
from torch.testing import assert_close

from pyro_exact.distributions import Flow, StandardNormal, UniformDequantizer
from pyro_exact.flows import planar
from pyro_exact.models import Dequantized
from pyro_exact.transforms import Compose, FixedAffine, Flatten

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return perturb(case.make(), 0.1)


def elbo(model, x):
    return -Trace_ELBO().loss(model.model, model.guide, x)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64], ids=str
)
def test_dequantized_takes_images_of_any_dtype(dtype):
    case = MODELS["Dequantized"]
    model, x = perturb(case.make(), 0.1), case.data()
    losses = []
    for images in (x, x.to(dtype)):
        torch.manual_seed(3)
        losses.append(elbo(model, images))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_dequantized_noise_has_at_least_full_precision(dtype):
    torch.set_default_dtype(torch.float32)
    case = MODELS["Dequantized"]
    model, x = case.make(), case.data().to(dtype)
    assert model.log_weight(x).dtype == torch.float32
    trace = poutine.trace(model.guide).get_trace(x)
    v = trace.nodes["v"]["value"]
    assert v.dtype == torch.float32
    assert (v != v.bfloat16()).any()


def test_dequantized_pixels_are_the_floor_of_the_latent():
    model = MODELS["Dequantized"].make()
    v = 4 * torch.rand(1, 4, 4)
    assert torch.equal(poutine.condition(model.generate, data={"v": v})(), v.floor())


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda x: x / 4, ValueError, "whole pixel levels from 0 to 3"),
        (lambda x: x + 3, ValueError, "levels from 0 to 3; got values from 3 to 6"),
        (lambda x: x * math.nan, ValueError, "to be finite; got 512 of 512 elements NaN"),
        (lambda x: x.expand(-1, 3, -1, -1), ValueError, r"shape \(\*, 1, 4, 4\)"),
        (lambda x: x[:0], ValueError, "at least one image"),
        (lambda x: x > 1, TypeError, r"got torch\.bool"),
        (lambda x: x[0], ValueError, r"batch of shape \(N, C, H, W\); got \(1, 4, 4\)"),
    ],
)
@pytest.mark.parametrize("door", ["model", "guide", "initialize", "log_weight"])
def test_dequantized_refuses_images_that_stock_pyro_would_take(door, spoil, error, message):
    model = MODELS["Dequantized"].make()
    with pytest.raises(error, match=message):
        getattr(model, door)(spoil(MODELS["Dequantized"].data()))


def test_dequantized_samples_lie_in_the_levels():
    model = Dequantized(Flow(StandardNormal(1), Compose([Flatten((1, 1, 1))]).inv), levels=4)
    x = model.sample(200)
    assert x.dtype == torch.int64
    assert set(x.unique().tolist()) == {0, 1, 2, 3} - ({3} if x.max() < 3 else set())
    assert x.min() == 0  # the noise goes below: the samples do not


def test_dequantized_takes_another_guide():
    class Corner(torch.nn.Module):
        """Half of the cell: q(v | x) = 2 on [x, x + 1/2) in each of its pixels."""

        def forward(self, x):
            low = torch.distributions.Uniform(x, x + 0.5)
            return pyro.distributions.Independent(pyro.distributions.Uniform(low.low, low.high), 3)

    flow = MODELS["Dequantized"].make().flow
    x = MODELS["Dequantized"].data()
    model = Dequantized(flow, levels=4, noise=Corner())
    torch.manual_seed(3)
    weights = model.log_weight(x)
    torch.manual_seed(3)
    v = Corner()(x.double()).sample()
    assert_close(weights, flow().log_prob(v) - 16 * math.log(2))


@pytest.fixture
def known():
    model = two_pixels()
    images = torch.cartesian_prod(torch.arange(4), torch.arange(4)).view(16, 1, 1, 2)
    with torch.no_grad():
        return model, images, exact_log_likelihood(model, images)


def test_dequantized_quadrature_has_converged(known):
    model, images, exact = known
    with torch.no_grad():
        assert_close(exact, exact_log_likelihood(model, images, n=64), rtol=0, atol=5e-4)
    assert exact.exp().sum() <= 1  # the rest of the mass lies outside of the levels


def test_dequantized_bounds_tighten_with_more_samples(known):
    model, images, exact = known
    means, errors = [], []
    for k in (1, 4, 16, 256):
        draws = bounds(model, images, k, repeats=20_000 // k).mean(1)
        means.append(draws.mean())
        errors.append(draws.std() / len(draws) ** 0.5)
    gaps = [(exact.mean() - mean).item() for mean in means]
    assert gaps[0] > 0.1  # the bound is loose to begin with, so that the rest can fail
    assert all(gap > -4 * error for gap, error in zip(gaps, errors, strict=True))
    for wide, narrow, e, f in zip(gaps, gaps[1:], errors, errors[1:], strict=False):
        assert narrow < wide + 4 * (e**2 + f**2).sqrt()
    assert gaps[1] < gaps[0] / 2
    assert gaps[-1] < 0.01 + 4 * errors[-1]


def test_dequantized_weights_average_to_the_likelihood(known):
    model, images, exact = known
    likelihoods = bounds(model, images, k=1, repeats=20_000).exp()
    error = likelihoods.std(0) / 20_000**0.5
    assert ((likelihoods.mean(0) - exact.exp()).abs() < 5 * error).all()


def test_dequantized_elbo_is_the_mean_log_density_over_the_cell(known):
    model, images, _ = known
    n = 64
    corner = (torch.arange(n) + 0.5) / n
    offsets = torch.cartesian_prod(corner, corner).view(-1, 1, 1, 1, 2)
    expected = model.flow().log_prob(images.double() + offsets).mean(0).sum().item()
    draws = torch.tensor([elbo(model, images) for _ in range(100)])
    assert abs(draws.mean() - expected) < 5 * draws.std() / 10


# A normal flow on one pixel: P(x) is a difference of two normal distribution functions.
def test_dequantized_one_pixel_under_a_normal_density():
    flow = Flow(
        StandardNormal(1), Compose([FixedAffine(0.5, -0.75), Flatten((1, 1, 1))]).inv
    )  # v ~ N(1.5, 4)
    model = Dequantized(flow, levels=4)
    images = torch.arange(4).view(4, 1, 1, 1)
    cdf = torch.distributions.Normal(1.5, 2.0).cdf(torch.arange(5.0))
    exact = (cdf[1:] - cdf[:-1]).log()
    draws = bounds(model, images, k=1000, repeats=20)
    assert_close(draws.mean(0), exact, rtol=0, atol=1e-3)
    assert (bounds(model, images, k=1, repeats=5000).mean(0) < exact).all()


def test_dequantized_uniform_noise_adds_nothing_to_the_weight(known):
    model, images, _ = known
    torch.manual_seed(3)
    weights = model.log_weight(images)
    torch.manual_seed(3)
    v = UniformDequantizer(images.double()).sample()
    assert_close(weights, model.flow().log_prob(v))


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, {"flow": planar(2, 1)}),
        (TypeError, {"levels": 4, "noise": "a"}),
        (ValueError, {"levels": 1}),
    ],
    ids=["flow", "noise", "levels"],
)
def test_dequantized_refuses_what_it_cannot_use(error, arguments):
    flow = Flow(StandardNormal(1), Compose([Flatten((1, 1, 1))]).inv)
    with pytest.raises(error, match=r"Dequantized expects .*; got .*\. \w+"):
        Dequantized(**{"flow": flow, **arguments})
