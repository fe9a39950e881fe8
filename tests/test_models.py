"""Models: stock SVI trains each, the bounds are bounds, and nothing depends on the integer type of the images."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO
from pyro.optim import Adam
from registry import MODELS, dense
from torch.testing import assert_close

from pyro_exact import models
from pyro_exact.distributions import Flow, StandardNormal, UniformDequantizer
from pyro_exact.flows import planar, real_nvp
from pyro_exact.models import Density, Dequantized
from pyro_exact.transforms import ActNorm, Affine, Compose, FixedAffine, Flatten, Halves, Permute

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return perturb(case.make(), 0.1)


def perturb(module, std):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def elbo(model, x):
    return -Trace_ELBO().loss(model.model, model.guide, x)


# Laws
# -----------------------------------------------------------------------------------------------------------------


def test_every_exported_model_is_registered():
    assert {name.split()[0] for name in MODELS} == set(models.__all__) - {"GenerativeModel"}


def test_stock_svi_lowers_the_loss(case):
    model, x = case.make(), case.data()
    model.initialize(x)
    svi = SVI(model.model, model.guide, Adam({"lr": 0.01}), Trace_ELBO())
    before = [p.clone() for p in model.parameters()]
    start = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    for _ in range(40):
        svi.step(x)
    end = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    assert end < start - 0.1 * len(x)
    assert all(
        not torch.equal(p, old)
        for p, old in zip(model.parameters(), before, strict=True)
        if p.numel()
    )


def test_samples_are_like_the_data(model, case):
    x = case.data()
    drawn = model.sample(5)
    assert drawn.shape == (5, *x.shape[1:])
    assert drawn.dtype == x.dtype
    assert not drawn.requires_grad
    assert model.log_weight(drawn).isfinite().all()


def test_the_sum_of_the_log_weights_is_the_elbo(model, case):
    x = case.data()
    torch.manual_seed(3)
    weights = model.log_weight(x)
    torch.manual_seed(3)
    assert weights.shape == (len(x),)
    assert_close(weights.sum().item(), elbo(model, x), rtol=1e-10, atol=0)


def test_the_log_weights_have_the_gradient_of_the_elbo(model, case):
    x = case.data()
    torch.manual_seed(3)
    loss = Trace_ELBO().differentiable_loss(model.model, model.guide, x)
    expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    torch.manual_seed(3)
    found = torch.autograd.grad(
        -model.log_weight(x).sum(), list(model.parameters()), allow_unused=True
    )
    assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_the_renyi_bound_of_one_row_is_the_log_mean_weight(model, case):
    row = case.data()[:1]
    bound = RenyiELBO(alpha=0, num_particles=6, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(3)
    renyi = -bound.loss(model.model, model.guide, row)
    torch.manual_seed(3)
    weights = model.log_weight(row.expand(6, *row.shape[1:]))
    assert_close(renyi, (weights.logsumexp(0) - math.log(6)).item(), rtol=1e-10, atol=0)


def test_a_batch_is_the_sum_of_its_rows(model, case):
    x = case.data()[:4]
    guide = poutine.trace(model.guide).get_trace(x)
    latents = {
        name: site["value"]
        for name, site in guide.nodes.items()
        if site["type"] == "sample" and name != "data"
    }

    def log_weight(rows):
        data = {name: value[rows] for name, value in latents.items()}
        traces = [
            poutine.trace(poutine.condition(f, data)).get_trace(x[rows])
            for f in (model.model, model.guide)
        ]
        return traces[0].log_prob_sum() - traces[1].log_prob_sum()

    total = sum(log_weight(slice(i, i + 1)) for i in range(4))
    assert_close(total, log_weight(slice(None)), rtol=1e-10, atol=0)


def test_a_reloaded_model_has_the_same_loss(model, case, tmp_path):
    x = case.data()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = case.make()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    losses = []
    for each in (model, other):
        pyro.clear_param_store()
        torch.manual_seed(3)
        losses.append(elbo(each, x))
    assert losses[0] == losses[1]


def test_parameters_are_registered_once_and_under_their_names(model, case):
    poutine.trace(model.model).get_trace(case.data())
    poutine.trace(model.guide).get_trace(case.data())
    modules, names = zip(*(key.split("$$$") for key in pyro.get_param_store()), strict=True)
    assert len(set(modules)) == 1
    assert list(names) == [name for name, _ in model.named_parameters()]


def test_in_predictive(model, case):
    x = case.data()[:4]
    drawn = Predictive(model.generate, num_samples=3)()
    assert drawn["x"].shape == (3, *x.shape[1:])
    latents = Predictive(model.model, guide=model.guide, num_samples=3)(x)
    assert all(value.shape[:2] == (3, 4) for value in latents.values())


def test_under_condition(model, case):
    x = case.data()[:1].to(torch.get_default_dtype())[0]
    conditioned = poutine.condition(model.generate, data={"x": x})
    with poutine.trace() as trace:
        assert torch.equal(conditioned(), x)
    assert trace.trace.nodes["x"]["is_observed"]


def test_it_can_move_to_another_precision(model, case):
    single, x = model.float(), case.data()
    torch.set_default_dtype(torch.float32)
    x = x.float() if x.is_floating_point() else x
    weights = single.log_weight(x)
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()


DOORS = ["model", "guide", "initialize", "log_weight"]


@pytest.mark.parametrize("door", DOORS)
def test_one_datum_without_a_batch_dimension_is_refused(case, door):
    with pytest.raises(ValueError, match=r"expects .*\(N, .*got .*batch"):
        getattr(case.make(), door)(case.data()[0])


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda x: x[:0], ValueError),
        (lambda x: x[None], ValueError),
        (lambda x: x.double() * math.nan, ValueError),
        (lambda x: x.numpy(), TypeError),
        (lambda x: x.tolist(), TypeError),
        (lambda x: None, TypeError),
        (lambda x: x.to(torch.complex64), TypeError),
        (lambda x: x.to_sparse(), (TypeError, ValueError)),
    ],
    ids=["empty", "two batch dimensions", "NaN", "array", "list", "None", "complex", "sparse"],
)
def test_data_that_are_no_batch_of_numbers_are_refused(case, spoil, error):
    with pytest.raises(error, match=r"expected .*; got|expects .*; got"):
        case.make().log_weight(spoil(case.data()))


@pytest.mark.parametrize("n", [-1, 2.0, math.nan, "3", None])
def test_a_count_of_samples_is_an_integer_of_at_least_0(case, n):
    with pytest.raises((TypeError, ValueError), match=r"sample expects n .*; got"):
        case.make().sample(n)


def test_no_samples_are_an_empty_batch(case):
    assert case.make().sample(0).shape == (0, *case.data().shape[1:])


def test_floats_of_another_precision_are_cast_to_that_of_the_weights(case):
    model, x = case.make(), case.data()[:4]
    model.initialize(x.float() if x.is_floating_point() else x)
    torch.manual_seed(3)
    expected = model.log_weight(x.float().double())
    torch.manual_seed(3)
    assert torch.equal(model.log_weight(x.float()), expected)
    assert expected.dtype == torch.float64


@pytest.mark.gpu
def test_it_trains_on_a_gpu(case):
    torch.set_default_dtype(torch.float32)
    x = case.data().cuda()
    model = case.make().cuda()
    model.initialize(x)
    svi = SVI(model.model, model.guide, Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(x))
    assert model.sample(3).is_cuda


# Density
# --------------------------------------------------------------------------------------------------------------


def test_the_elbo_of_an_empty_guide_is_the_log_likelihood():
    case = MODELS["Density"]
    model, x = perturb(case.make(), 0.3), case.data()
    expected = model.distribution().log_prob(x)
    assert_close(elbo(model, x), expected.sum().item(), rtol=1e-12, atol=0)
    assert_close(model.log_weight(x), expected)


def test_initialize_reaches_the_act_norm_behind_the_inverse():
    case = MODELS["Density"]
    model, x = case.make(), case.data()
    model.initialize(x)
    act_norm = model.distribution.bijection.inv.parts[0]
    assert_close(act_norm(x).mean(0), torch.zeros(2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("inverse", [False, True])
def test_initialize_says_which_way_round_a_flow_goes(inverse):
    flow, x = real_nvp(2, 2), MODELS["Density"].data()
    model = Density(Flow(StandardNormal(2), flow.inv if inverse else flow))
    if inverse:
        before = model.log_weight(x).mean()
        model.initialize(x)
        assert model.log_weight(x).mean() > before + 1
    else:
        with pytest.raises(
            ValueError, match=r"from data to noise; .* Build it as Flow\(base, bijection.inv\)"
        ):
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
def test_initialize_reaches_inverses_within_a_composition(make):
    x = 5 + 3 * torch.randn(64, 2)
    model = Density(Flow(StandardNormal(2), make()))
    model.initialize(x)
    assert_close(model.distribution.bijection.inv(x).mean(0), torch.zeros(2))


@pytest.mark.parametrize(
    "make",
    [lambda: Compose([real_nvp(2).inv]).inv, lambda: Compose([Permute([1, 0]).inv, ActNorm(2)])],
    ids=["an inverse of an inverse", "noise to data"],
)
def test_initialize_leaves_no_layer_in_silence(make):
    bijection = make()
    with pytest.raises(ValueError, match=r"expects layers that go from data to noise; got ActNorm"):
        Density(Flow(StandardNormal(2), bijection)).initialize(torch.randn(64, 2))
    assert not any(
        p.any()
        for layer in bijection.modules()
        if isinstance(layer, ActNorm)
        for p in layer.parameters()
    )


def test_a_flow_without_parameters_from_data_may_go_either_way():
    Density(Flow(StandardNormal(2), planar(2, 3))).initialize(MODELS["Density"].data())


def test_the_temperature_of_a_sample():
    model = Density(Flow(StandardNormal(2), ActNorm(2).inv))
    assert_close(model.sample(5, temperature=0), torch.zeros(5, 2))
    assert model.sample(5, temperature=0.5).std() > 0


# Dequantized
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64], ids=str
)
def test_the_dtype_of_the_images_does_not_matter(dtype):
    case = MODELS["Dequantized"]
    model, x = perturb(case.make(), 0.1), case.data()
    losses = []
    for images in (x, x.to(dtype)):
        torch.manual_seed(3)
        losses.append(elbo(model, images))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_images_get_noise_of_the_precision_of_the_weights_and_no_less_than_full(dtype):
    torch.set_default_dtype(torch.float32)
    case = MODELS["Dequantized"]
    model, x = case.make(), case.data().to(dtype)
    assert model.log_weight(x).dtype == torch.float32
    trace = poutine.trace(model.guide).get_trace(x)
    v = trace.nodes["v"]["value"]
    assert v.dtype == torch.float32
    assert (v != v.bfloat16()).any()


def test_pixels_are_the_floor_of_the_latent():
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
def test_images_that_stock_pyro_would_take_are_refused(door, spoil, error, message):
    model = MODELS["Dequantized"].make()
    with pytest.raises(error, match=message):
        getattr(model, door)(spoil(MODELS["Dequantized"].data()))


def test_samples_lie_in_the_levels():
    model = Dequantized(Flow(StandardNormal(1), Compose([Flatten((1, 1, 1))]).inv), levels=4)
    x = model.sample(200)
    assert x.dtype == torch.int64
    assert set(x.unique().tolist()) == {0, 1, 2, 3} - ({3} if x.max() < 3 else set())
    assert x.min() == 0  # the noise goes below: the samples do not


def test_another_guide_is_an_option():
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


# One and two pixels of 4 levels, where the likelihood itself is known by quadrature
# -----------------------------------


def two_pixels():
    """A model of images (1, 1, 2) whose density bends inside a cell, so that the bound is not tight."""
    couplings = [dense(Halves(2, swap=swap), Affine(), None) for swap in (False, True)]
    flow = Compose([FixedAffine(1.0, -2.0), Flatten((1, 1, 2)), *couplings])
    return Dequantized(Flow(StandardNormal(2), perturb(flow, 0.3).inv), levels=4)


def exact_log_likelihood(model, images, n=128):
    """log P(x) of each image, by the midpoint rule on its cell."""
    corner = (torch.arange(n) + 0.5) / n
    offsets = torch.cartesian_prod(corner, corner).view(-1, 1, 1, 1, 2)
    log_density = model.flow().log_prob(images.double() + offsets)
    return log_density.logsumexp(0) - math.log(n * n)


@pytest.fixture
def known():
    model = two_pixels()
    images = torch.cartesian_prod(torch.arange(4), torch.arange(4)).view(16, 1, 1, 2)
    with torch.no_grad():
        return model, images, exact_log_likelihood(model, images)


def bounds(model, images, k, repeats):
    """Independent draws of the importance-weighted bound with k samples, of shape (repeats, number of images)."""
    many = images.repeat(repeats * k, 1, 1, 1)
    with torch.no_grad():
        weights = model.log_weight(many).view(repeats, k, len(images))
    return weights.logsumexp(1) - math.log(k)


def test_quadrature_has_converged(known):
    model, images, exact = known
    with torch.no_grad():
        assert_close(exact, exact_log_likelihood(model, images, n=64), rtol=0, atol=5e-4)
    assert exact.exp().sum() <= 1  # the rest of the mass lies outside of the levels


def test_bounds_tighten_with_more_samples_and_never_pass_the_likelihood(known):
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


def test_the_weights_average_to_the_likelihood(known):
    model, images, exact = known
    likelihoods = bounds(model, images, k=1, repeats=20_000).exp()
    error = likelihoods.std(0) / 20_000**0.5
    assert ((likelihoods.mean(0) - exact.exp()).abs() < 5 * error).all()


def test_the_elbo_is_the_mean_log_density_over_the_cell(known):
    model, images, _ = known
    n = 64
    corner = (torch.arange(n) + 0.5) / n
    offsets = torch.cartesian_prod(corner, corner).view(-1, 1, 1, 1, 2)
    expected = model.flow().log_prob(images.double() + offsets).mean(0).sum().item()
    draws = torch.tensor([elbo(model, images) for _ in range(100)])
    assert abs(draws.mean() - expected) < 5 * draws.std() / 10


# A normal flow on one pixel: P(x) is a difference of two normal distribution functions.
def test_one_pixel_under_a_normal_density():
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


def test_uniform_noise_adds_nothing_to_the_weight(known):
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
