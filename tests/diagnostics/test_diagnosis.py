"""The diagnosis of a model with latents, against closed forms."""

import math

import arviz
import numpy as np
import pyro
import pytest
import torch
from helpers.vaes import bits, linear, marginal, small, use_exact_posterior
from registry import MODELS
from torch import nn
from torch.distributions import kl_divergence
from torch.testing import assert_close

import pyro_exact
from pyro_exact import flows
from pyro_exact.autoregressive import MADE
from pyro_exact.diagnostics import diagnose, inference_data
from pyro_exact.diagnostics.inference_data import pareto_k
from pyro_exact.distributions import FlowPosterior, StandardNormal
from pyro_exact.models import VAE
from pyro_exact.nn import DenseEncoder

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def known():
    """A linear Gaussian VAE with the best diagonal posterior, 50 data, and their log-likelihood."""
    model = linear()
    use_exact_posterior(model)
    x = marginal(model).sample((50,))
    return model, x, marginal(model).log_prob(x)


def test_diagnosis_bounds_rise_to_the_likelihood_of_each_datum(known):
    model, x, exact = known
    found = diagnose(model, x, samples=5000)
    assert list(found.bounds) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    whole = [k for k in found.bounds if 5000 % k == 0]
    for k in whole:
        for m in (
            m for m in whole if m % k == 0
        ):  # groups of groups: Jensen holds for the samples at hand
            assert (found.bounds[m] >= found.bounds[k] - 1e-10).all()
    assert (exact - found.bounds[1]).mean() > 0.1
    assert_close(found.bounds[5000], exact, rtol=0, atol=0.2)


def test_diagnosis_bound_of_k_is_a_mean_over_groups_of_k_weights(known):
    found = diagnose(known[0], known[1], samples=103, ks=(10,))
    assert list(found.bounds) == [1, 10, 103]
    by_hand = torch.stack(
        [w.logsumexp(0) - math.log(10) for w in found.log_weights[:100].split(10)]
    ).mean(0)
    assert_close(found.bounds[10], by_hand)
    assert_close(found.bounds[1], found.log_weights.mean(0))


def test_diagnosis_of_the_exact_posterior_has_equal_weights_without_a_tail():
    model = linear(latents=1)
    use_exact_posterior(model)
    found = diagnose(model, marginal(model).sample((20,)), samples=500)
    assert (found.pareto_k == -math.inf).all()
    assert found.unreliable == 0
    assert "Pareto" not in found.verdict


@pytest.mark.parametrize(("width", "k"), [(0.5, 0.75), (0.8, 0.36)])
def test_diagnosis_tail_of_the_weights_of_a_narrow_normal(width, k):
    """For p = N(0, 1) and q = N(0, s²) the weights p / q have a tail of shape 1 - s²."""
    z = width * torch.randn(100_000, 4)
    weights = torch.distributions.Normal(0, 1).log_prob(z) - torch.distributions.Normal(
        0, width
    ).log_prob(z)
    assert ((pareto_k(weights) - k).abs() < 0.25).all()


def test_diagnosis_divergences_are_the_closed_form(known):
    model, x, _ = known
    level = diagnose(model, x, samples=5000).levels["z"]
    expected = kl_divergence(model.posterior_of(x).base_dist, model.prior().base_dist)
    assert_close(level.kl_by_unit, expected.mean(0), rtol=1e-10, atol=0)
    assert_close(level.kl, expected.sum(1), rtol=0, atol=0.15)


def test_diagnosis_of_units_behind_a_flow_has_no_divergence_of_their_own():
    level = diagnose(small(flows.planar(2, 3, 6)), bits(10), samples=200).levels["z"]
    assert level.kl_by_unit is None
    assert level.kl.shape == (10,)


def test_diagnosis_activity_is_the_variance_of_the_posterior_mean(known):
    model, x, _ = known
    model.posterior.normal.weight.data[1] = 0.0  # the second unit does not see the data
    level = diagnose(model, x, samples=5000).levels["z"]
    assert_close(level.activity, model.posterior_of(x).mean.var(0), rtol=0, atol=0.02)
    assert level.active == 1


def test_diagnosis_mutual_information_of_a_gaussian_channel():
    """x ~ N(0, 1) and z | x ~ N(x, 1): I = log(2) / 2."""
    model = linear(latents=1, dim=1)
    with torch.no_grad():
        model.posterior.normal.weight.copy_(torch.tensor([[1.0], [0.0]]))
        model.posterior.normal.bias.copy_(torch.tensor([0.0, math.log(math.e - 1)]))
    found = diagnose(model, torch.randn(1000, 1), samples=100).mutual_information
    assert found == pytest.approx(math.log(2) / 2, abs=0.08)


def test_diagnosis_mutual_information_is_at_most_the_logarithm_of_the_data():
    model = linear()
    model.posterior.normal.weight.data[:2] *= 1000.0
    found = diagnose(model, 10 * torch.randn(30, 3), samples=100)
    assert found.mutual_information == pytest.approx(math.log(30), abs=1e-3)
    assert not found.ignored


def test_diagnosis_reconstruction_is_drawn_given_the_latents_of_its_datum(known):
    model, x, _ = known
    found = diagnose(model, x, samples=100)
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    q = model.posterior_of(x)
    # a draw of z, and the noise of x, around W E[z | x] + b
    variance = (weight**2 @ q.variance[0].detach()) + 0.25
    standard = (found.reconstructed - (q.mean.detach() @ weight.T + bias)) / variance.sqrt()
    assert standard.shape == (50, 3)
    assert standard.square().mean() == pytest.approx(1, abs=0.3)


def ignoring():
    """A VAE with an autoregressive decoder whose posterior is the prior."""
    model = VAE(
        DenseEncoder((1, 4, 4), (6,)), nn.Linear(2, 3), FlowPosterior(6, 2), StandardNormal(2),
        MADE((1, 4, 4), (20,), context_dim=3),
    )  # fmt: skip
    with torch.no_grad():
        model.posterior.normal.weight.zero_()
        model.posterior.normal.bias.copy_(
            torch.tensor([0.0, 0.0, math.log(math.e - 1), math.log(math.e - 1)])
        )
    return model


def test_diagnosis_verdict_names_a_latent_that_is_ignored_and_what_to_try():
    found = diagnose(ignoring(), bits(20), samples=200)
    assert found.ignored
    assert found.verdict.startswith(
        "The decoder explains the data without z: KL 0.0 nats, 0 of 2 units active. The guide"
    )
    for advice in (
        "training.elbo.free_nats",
        "training.elbo.anneal kl",
        "a decoder that models less by itself",
    ):
        assert advice in found.verdict


def test_diagnosis_change_by_the_latents_is_the_closed_form(known):
    """E log N(x; W z + b, 1/4) over its own z, less that over those of others: only the distances of means differ."""
    model, x, _ = known
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    means = model.posterior_of(x).mean.detach() @ weight.T + bias
    distances = torch.cdist(x, means).square()
    shifts = torch.stack(
        [distances[torch.arange(50), (torch.arange(50) + shift) % 50] for shift in range(1, 11)]
    )
    exact = (shifts.mean() - distances.diagonal().mean()).item() / (2 * 0.25)
    gains = torch.tensor(
        [diagnose(model, x, samples=100, seed=seed).decoder_gain for seed in range(20)]
    )
    assert gains.mean() == pytest.approx(exact, abs=4 * gains.std().item() / 20**0.5)
    assert gains.std() < 0.2 * exact


def test_diagnosis_verdict_of_a_latent_that_the_decoder_ignores():
    model = small()
    model.decoder.layers[-1].weight.data.zero_()
    found = diagnose(model, bits(20), samples=200)
    assert (found.kl > 1, found.decoder_gain) == (True, pytest.approx(0, abs=1e-12))
    assert found.ignored
    assert found.verdict.startswith(
        "The decoder explains the data without z, and the divergence buys nothing: KL"
    )
    assert "by 0.0. Train longer" in found.verdict


def test_diagnosis_of_a_posterior_that_is_the_same_for_all_data():
    model = ignoring()
    model.posterior.normal.bias.data[:2] = 5.0
    found = diagnose(model, bits(20), samples=200)
    assert found.kl == pytest.approx(25, abs=1)
    assert found.ignored
    assert "free bits" not in found.verdict  # above their number they change nothing


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_diagnosis_refuses_weights_that_are_not_finite(known, bad):
    model, x, _ = known
    model.posterior.normal.bias.data[0] = bad  # of the mean of every datum
    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="got other weights for 50 of 50 data, first for"),
    ):
        diagnose(model, x, samples=100)


def test_diagnosis_puts_every_part_back_into_its_own_mode():
    model = small()
    model.encoder.append = nn.Dropout(0.5).eval()
    diagnose(model, bits(4), samples=100)
    assert (model.training, model.encoder.append.training) == (True, False)


def test_diagnose_is_an_attribute_of_the_package():
    assert pyro_exact.diagnose is diagnose
    with pytest.raises(AttributeError, match="has no attribute 'diagnosis'"):
        pyro_exact.diagnosis  # noqa: B018


def test_diagnosis_of_few_samples_makes_no_unit_active():
    """The mean of 100 draws has a variance of 0.01 by itself."""
    level = diagnose(ignoring(), bits(60), samples=100).levels["z"]
    assert level.activity.max() < 0.005


def test_diagnosis_verdict_of_a_latent_that_is_used(known):
    found = diagnose(known[0], known[1], samples=5000)
    assert not found.ignored
    assert found.verdict.startswith(
        f"The latent is used: KL {found.kl:.1f} nats, 2 of 2 units active."
    )
    told = f"by {found.mutual_information:.1f} nats, the decoder by {found.decoder_gain:.1f}."
    assert told in found.verdict


def test_diagnosis_noise_is_that_of_the_seed_and_the_caller_is_left_alone():
    model = small().train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (
        diagnose(model, bits(5) * 0, samples=100, seed=seed).log_weights for seed in (1, 1, 2)
    )
    torch.manual_seed(5)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_diagnosis_draws_many_samples_in_portions_of_any_size(monkeypatch):
    model, x = small(), bits(5)
    monkeypatch.setattr("pyro_exact.diagnostics.estimates.AT_ONCE", 7 * x.numel())
    found = diagnose(model, x, samples=103)
    assert found.log_weights.shape == (103, 5)
    assert found.levels["z"].kl.shape == (5,)


@pytest.mark.gpu
def test_diagnosis_on_a_gpu():
    found = diagnose(small(flows.planar(2, 3, 6)).cuda(), bits(5), samples=100)
    assert not found.log_weights.is_cuda
    assert found.levels["z"].activity.shape == (2,)


@pytest.fixture
def found():
    return diagnose(small(flows.planar(2, 3, 6)), bits(12), samples=200)


def test_diagnosis_is_read_back_by_arviz(found, tmp_path):
    inference_data(found).to_netcdf(str(tmp_path / "found.nc"))
    back = arviz.from_netcdf(str(tmp_path / "found.nc"))
    assert back["posterior"]["z"].shape == (1, 20, 12, 2)
    assert back["posterior"]["z"].dims == ("chain", "draw", "datum", "z_dim_0")
    np.testing.assert_allclose(back["sample_stats"]["log_weight"][0], found.log_weights)
    np.testing.assert_allclose(back["constant_data"]["pareto_k"], found.pareto_k)
    np.testing.assert_allclose(back["constant_data"]["bound"].sel(k=100), found.bounds[100])
    np.testing.assert_allclose(back["constant_data"]["z_kl"], found.levels["z"].kl)
    np.testing.assert_allclose(
        back["observed_data"]["mean_level"], found.data.mean((1, 2, 3)), rtol=1e-6
    )
    assert back["posterior_predictive"]["roughness"].shape == (1, 20, 12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Density", "an exact likelihood. Use evaluate"),
        ("Dequantized", "got dequantisation noise. Use evaluate"),
    ],
)
def test_diagnosis_refuses_models_without_latents(name, message):
    case = MODELS[name]
    with pytest.raises(ValueError, match=message):
        diagnose(case.make(), case.data())


@pytest.mark.parametrize(
    ("data", "samples", "message"),
    [
        (lambda: torch.tensor(1.0), 200, r"\(N, \.\.\.\); got .*\. Stack the data"),
        (lambda: bits(5), 10, r"at least 100 samples \(k\) and 2 data \(n\); got 10 and 5"),
        (lambda: bits(1), 200, "got 200 and 1"),
        (lambda: bits(5) / 2 + 0.25, 200, "values 0 and 1"),
        (lambda: bits(5, (1, 4, 5)), 200, r"got \(5, 1, 4, 5\)"),
    ],
)
def test_diagnosis_refuses_what_cannot_be_diagnosed(data, samples, message):
    with pytest.raises(ValueError, match=message):
        diagnose(small(), data(), samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": "a"}, "expects seed as an integer; got 'a'"),
        ({"seed": 1.5}, r"expects seed as an integer; got 1\.5"),
        ({"seed": 2**70}, "expects seed from .*; got"),
        ({"samples": 200.0}, r"expects samples as an integer; got 200\.0"),
        ({"ks": 5}, "expects ks as a sequence of integers; got 5"),
        ({"ks": (0, 1)}, "expects each of ks from 1 to .*; got 0"),
        ({"data": None}, "expects data as a tensor; got NoneType"),
        ({"data": [[1.0]]}, "expects data as a tensor; got list"),
        ({"model": None}, "expects a GenerativeModel; got NoneType. Pass a model"),
    ],
)
def test_diagnosis_refuses_arguments_of_other_types(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"diagnose {message}"):
        diagnose(**{"model": small(), "data": bits(5), "samples": 200, **arguments})
