"""The diagnosis of a guide: known bounds, known divergences, a latent that is ignored, and what is written."""

import dataclasses
import json
import math

import arviz
import matplotlib.image
import numpy as np
import pyro
import pytest
import torch
from registry import MODELS
from test_vae import bits, linear, marginal, small, use_exact_posterior
from torch import nn
from torch.distributions import kl_divergence
from torch.testing import assert_close

import pyro_exact
from pyro_exact import cli, flows
from pyro_exact.autoregressive import MADE
from pyro_exact.diagnostics import diagnose, inference_data, save_page
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


# Numbers
# --------------------------------------------------------------------------------------------------------------


def test_the_bounds_rise_to_the_likelihood_of_each_datum(known):
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


def test_a_bound_of_k_is_a_mean_over_groups_of_k_weights(known):
    found = diagnose(known[0], known[1], samples=103, ks=(10,))
    assert list(found.bounds) == [1, 10, 103]
    by_hand = torch.stack(
        [w.logsumexp(0) - math.log(10) for w in found.log_weights[:100].split(10)]
    ).mean(0)
    assert_close(found.bounds[10], by_hand)
    assert_close(found.bounds[1], found.log_weights.mean(0))


def test_the_exact_posterior_has_equal_weights_without_a_tail():
    model = linear(latents=1)
    use_exact_posterior(model)
    found = diagnose(model, marginal(model).sample((20,)), samples=500)
    assert (found.pareto_k == -math.inf).all()
    assert found.unreliable == 0
    assert "Pareto" not in found.verdict


@pytest.mark.parametrize(("width", "k"), [(0.5, 0.75), (0.8, 0.36)])
def test_the_tail_of_the_weights_of_a_narrow_normal(width, k):
    """For p = N(0, 1) and q = N(0, s²) the weights p / q have a tail of shape 1 - s²."""
    z = width * torch.randn(100_000, 4)
    weights = torch.distributions.Normal(0, 1).log_prob(z) - torch.distributions.Normal(
        0, width
    ).log_prob(z)
    assert ((pareto_k(weights) - k).abs() < 0.25).all()


def test_the_divergences_are_the_closed_form(known):
    model, x, _ = known
    level = diagnose(model, x, samples=5000).levels["z"]
    expected = kl_divergence(model.posterior_of(x).base_dist, model.prior().base_dist)
    assert_close(level.kl_by_unit, expected.mean(0), rtol=1e-10, atol=0)
    assert_close(level.kl, expected.sum(1), rtol=0, atol=0.15)


def test_behind_a_flow_the_units_have_no_divergence_of_their_own():
    level = diagnose(small(flows.planar(2, 3, 6)), bits(10), samples=200).levels["z"]
    assert level.kl_by_unit is None
    assert level.kl.shape == (10,)


def test_the_activity_of_a_unit_is_the_variance_of_its_posterior_mean(known):
    model, x, _ = known
    model.posterior.normal.weight.data[1] = 0.0  # the second unit does not see the data
    level = diagnose(model, x, samples=5000).levels["z"]
    assert_close(level.activity, model.posterior_of(x).mean.var(0), rtol=0, atol=0.02)
    assert level.active == 1


def test_the_mutual_information_of_a_gaussian_channel():
    """x ~ N(0, 1) and z | x ~ N(x, 1): I = log(2) / 2."""
    model = linear(latents=1, dim=1)
    with torch.no_grad():
        model.posterior.normal.weight.copy_(torch.tensor([[1.0], [0.0]]))
        model.posterior.normal.bias.copy_(torch.tensor([0.0, math.log(math.e - 1)]))
    found = diagnose(model, torch.randn(1000, 1), samples=100).mutual_information
    assert found == pytest.approx(math.log(2) / 2, abs=0.08)


def test_the_mutual_information_is_at_most_the_logarithm_of_the_number_of_data():
    model = linear()
    model.posterior.normal.weight.data[:2] *= 1000.0
    found = diagnose(model, 10 * torch.randn(30, 3), samples=100)
    assert found.mutual_information == pytest.approx(math.log(30), abs=1e-3)
    assert not found.ignored


def test_a_reconstruction_is_drawn_given_the_latents_of_its_datum(known):
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


def test_the_verdict_names_a_latent_that_is_ignored_and_what_to_try():
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


def test_what_the_decoder_makes_of_the_latents_is_the_closed_form(known):
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


def test_a_latent_is_not_used_if_the_decoder_makes_nothing_of_it():
    model = small()
    model.decoder.layers[-1].weight.data.zero_()
    found = diagnose(model, bits(20), samples=200)
    assert (found.kl > 1, found.decoder_gain) == (True, pytest.approx(0, abs=1e-12))
    assert found.ignored
    assert found.verdict.startswith(
        "The decoder explains the data without z, and the divergence buys nothing: KL"
    )
    assert "by 0.0. Train longer" in found.verdict


def test_a_posterior_that_is_the_same_for_all_data_tells_nothing():
    model = ignoring()
    model.posterior.normal.bias.data[:2] = 5.0
    found = diagnose(model, bits(20), samples=200)
    assert found.kl == pytest.approx(25, abs=1)
    assert found.ignored
    assert "free bits" not in found.verdict  # above their number they change nothing


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(known, bad):
    model, x, _ = known
    model.posterior.normal.bias.data[0] = bad  # of the mean of every datum
    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="those of 50 of 50 data are not so, first of"),
    ):
        diagnose(model, x, samples=100)


def test_every_part_is_put_back_into_its_own_mode():
    model = small()
    model.encoder.append = nn.Dropout(0.5).eval()
    diagnose(model, bits(4), samples=100)
    assert (model.training, model.encoder.append.training) == (True, False)


def test_the_function_is_an_attribute_of_the_package():
    assert pyro_exact.diagnose is diagnose
    with pytest.raises(AttributeError, match="has no attribute 'diagnosis'"):
        pyro_exact.diagnosis  # noqa: B018


def test_the_noise_of_few_samples_makes_no_unit_active():
    """The mean of 100 draws has a variance of 0.01 by itself."""
    level = diagnose(ignoring(), bits(60), samples=100).levels["z"]
    assert level.activity.max() < 0.005


def test_the_verdict_of_a_latent_that_is_used(known):
    found = diagnose(known[0], known[1], samples=5000)
    assert not found.ignored
    assert found.verdict.startswith(
        f"The latent is used: KL {found.kl:.1f} nats, 2 of 2 units active."
    )
    told = f"by {found.mutual_information:.1f} nats, the decoder by {found.decoder_gain:.1f}."
    assert told in found.verdict


def test_the_noise_is_that_of_the_seed_and_the_caller_is_left_alone():
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


def test_many_samples_come_in_portions_of_any_size(monkeypatch):
    model, x = small(), bits(5)
    monkeypatch.setattr("pyro_exact.diagnostics.estimates.AT_ONCE", 7 * x.numel())
    found = diagnose(model, x, samples=103)
    assert found.log_weights.shape == (103, 5)
    assert found.levels["z"].kl.shape == (5,)


@pytest.mark.gpu
def test_on_a_gpu():
    found = diagnose(small(flows.planar(2, 3, 6)).cuda(), bits(5), samples=100)
    assert not found.log_weights.is_cuda
    assert found.levels["z"].activity.shape == (2,)


# What is written
# ------------------------------------------------------------------------------------------------------


@pytest.fixture
def found():
    return diagnose(small(flows.planar(2, 3, 6)), bits(12), samples=200)


def test_arviz_reads_back_what_was_found(found, tmp_path):
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


def test_the_page_is_a_picture(found, tmp_path):
    save_page(found, inference_data(found), 2, tmp_path / "page.png", "a title")
    image = matplotlib.image.imread(tmp_path / "page.png")
    assert min(image.shape[:2]) >= 500
    assert image[..., :3].std() > 0.05


def test_the_page_says_which_number_a_unit_has(found, tmp_path, monkeypatch):
    """Behind a flow no unit has a divergence of its own, but an activity; in closed form each has one."""
    titles = []
    monkeypatch.setattr(
        "pyro_exact.diagnostics.diagnosis_figure._titled", lambda axis, title: titles.append(title)
    )
    save_page(found, inference_data(found), 2, tmp_path / "page.png")
    plain = diagnose(small(), bits(12), samples=200)
    save_page(plain, inference_data(plain), 2, tmp_path / "page.png")
    of_units = [title for title in titles if "KL" in title]
    assert of_units == [
        f"activity of the units; KL of all from the prior: {found.kl:.2f} nats",
        f"KL from the prior: {plain.kl:.2f} nats",
    ]


def test_the_words_on_the_page_fit(found, tmp_path, monkeypatch):
    """No text ends outside the page, and no title of a panel in another panel."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    save_page(found, inference_data(found), 2, tmp_path / "page.png", "a long title " * 20)
    (figure,) = figures
    page = figure.bbox
    texts = [figure._suptitle, *(axis.title for axis in figure.axes)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) == 7
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_no_page_of_what_is_not_finite(found, tmp_path):
    data = inference_data(found)
    level = dataclasses.replace(found.levels["z"], activity=torch.full((2,), torch.nan))
    bad = [
        ({"levels": {"z": level}}, "the activity of z to be finite; got 2 of 2 elements NaN"),
        ({"bounds": {1: torch.tensor([-torch.inf] * 12)}}, "the bound of 1 samples to be finite"),
        (
            {"reconstructed": found.reconstructed + 0.5},
            "levels from 0 to 1; got values from 0 to 1.5",
        ),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            save_page(dataclasses.replace(found, **change), data, 2, tmp_path / "page.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_any_channels_have_a_page(found, tmp_path, channels):
    shape = (12, channels, 4, 4)
    change = {"data": bits(12, shape[1:]), "reconstructed": bits(12, shape[1:])}
    save_page(dataclasses.replace(found, **change), inference_data(found), 2, tmp_path / "page.png")
    assert (tmp_path / "page.png").exists()


def test_vectors_have_a_page_too(known, tmp_path):
    found = diagnose(known[0], known[1], samples=200)
    save_page(found, inference_data(found), 2, tmp_path / "page.png")
    assert (tmp_path / "page.png").exists()


def test_the_command(tmp_path, monkeypatch, capsys):
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 2, (60, 4, 4), dtype=np.uint8)
    np.savez("toy.npz", train=images[:40], test=images[40:], levels=2)
    (tmp_path / "mine.yaml").write_text(
        "data: toy.npz\nmodel: {name: dense_vae, latent_dim: 2, hidden_dims: [5], flow: planar}\n"
        "training: {steps: 3, batch_size: 8, elbo: {anneal: kl, steps: 2}}\n"
    )
    cli.main(["train", "mine.yaml", "--out", "out", "--training.elbo.anneal", "energy"])
    cli.main(["diagnose", "out/checkpoint.ckpt", "--n", "10", "--k", "200", "--out", "seen"])
    printed = capsys.readouterr().out
    assert "bound of   200 samples" in printed
    record = json.loads((tmp_path / "seen/diagnosis.json").read_text())
    assert record["verdict"] in printed
    assert (record["data"], record["samples"], record["units"]) == (10, 200, {"z": 2})
    assert (tmp_path / "seen/diagnosis.png").exists()
    assert arviz.from_netcdf("seen/diagnosis.nc")["constant_data"]["pareto_k"].shape == (10,)
    with pytest.raises(SystemExit):
        cli.main(["diagnose", "out/checkpoint.ckpt", "--n", "100"])
    assert (
        "--n expects at most 20, because the split test of toy has 20 images; got 100"
        in capsys.readouterr().err
    )


# Bad input
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Density", "likelihood is exact. Use evaluate"),
        ("Dequantized", "got dequantisation noise. Use evaluate"),
    ],
)
def test_models_without_latents_are_refused(name, message):
    case = MODELS[name]
    with pytest.raises(ValueError, match=message):
        diagnose(case.make(), case.data())


@pytest.mark.parametrize(
    ("data", "samples", "message"),
    [
        (lambda: torch.tensor(1.0), 200, r"\(N, \.\.\.\); got .*\. Stack them"),
        (lambda: bits(5), 10, r"100 samples \(k\) and 2 data \(n\) at least; got 10 and 5"),
        (lambda: bits(1), 200, "got 200 and 1"),
        (lambda: bits(5) / 2 + 0.25, 200, "values 0 and 1"),
        (lambda: bits(5, (1, 4, 5)), 200, r"got \(5, 1, 4, 5\)"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(data, samples, message):
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
        ({"model": None}, "expects a GenerativeModel; got NoneType. Pass one"),
    ],
)
def test_arguments_of_other_types_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"diagnose {message}"):
        diagnose(**{"model": small(), "data": bits(5), "samples": 200, **arguments})
