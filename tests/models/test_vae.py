"""Variational autoencoders: bounds, posteriors with flows, recipes."""

import math

import pyro
import pytest
import torch
from helpers.vaes import bits, linear, marginal, perturb, small, use_exact_posterior
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.autoregressive import MADE, Autoregressive
from pyro_exact.distributions import FlowPosterior, IndependentSites, StandardNormal
from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
from pyro_exact.models import VAE, GenerativeModel, hierarchical_pixel_vae, iaf_vae, pixel_vae
from pyro_exact.nn import DenseDecoder, DenseEncoder, GatedConvDecoder, GatedConvEncoder
from pyro_exact.recipes import load_recipe
from pyro_exact.train import evaluate
from pyro_exact.transforms import Planar

pytestmark = pytest.mark.usefixtures("double")


FLOWS = {
    "none": lambda: None,
    "planar": lambda: flows.planar(2, 3, context_dim=6),
    "planar without context": lambda: flows.planar(2, 3),
    "radial": lambda: flows.radial(2, 2, context_dim=6),
    "sylvester": lambda: flows.sylvester(2, 2, 1, context_dim=6),
    "iaf": lambda: flows.iaf(2, 2, (6,), context_dim=6, act_norm=False),
    "spline": lambda: flows.spline_coupling(2, 2, 4, hidden_dims=(5,), context_dim=6),
    "coupling": lambda: flows.real_nvp(2, 2, (5,), context_dim=6),
}


def test_vae_elbo_and_importance_weighted_bound_approach_the_likelihood():
    model = linear()
    use_exact_posterior(model)
    x = marginal(model).sample((400,))
    exact = -marginal(model).log_prob(x).mean().item()
    scores = [evaluate(model, x, k=k, batch_size=1000) for k in (1, 10, 1000)]
    gaps = [score.nats - exact for score in scores]
    assert (
        gaps[0] > 0.1
    )  # the guide has no correlations, so that there is something to converge from
    assert 0.3 * gaps[0] > gaps[1] > 0
    assert abs(gaps[2]) < 0.01


def test_vae_gap_of_the_elbo_is_the_divergence_of_the_guide():
    model = linear()
    use_exact_posterior(model)
    x = marginal(model).sample((3,))
    weight = model.decoder.mean.weight.detach()
    precision = torch.eye(2) + weight.T @ weight / 0.25
    q = model.posterior_of(x)
    exact = MultivariateNormal(q.mean, precision_matrix=precision)
    gap = kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), exact)
    with torch.no_grad():
        weights = model.log_weight(x.repeat(20_000, 1)).view(20_000, 3)
    error = weights.std(0) / 20_000**0.5
    assert ((marginal(model).log_prob(x) - weights.mean(0) - gap).abs() < 5 * error).all()


def test_vae_exact_posterior_makes_every_weight_the_likelihood():
    model = linear(latents=1)
    use_exact_posterior(model)
    x = marginal(model).sample((50,))
    assert_close(model.log_weight(x), marginal(model).log_prob(x), rtol=1e-8, atol=1e-8)


def test_vae_divergence_from_the_prior_by_monte_carlo_is_the_closed_form():
    model = small()
    q, prior = model.posterior_of(bits()), model.prior()
    z = q.sample((40_000,))
    found = q.log_prob(z) - prior.log_prob(z)
    error = found.std(0) / 40_000**0.5
    assert ((found.mean(0) - kl_divergence(q, prior)).abs() < 5 * error).all()


@pytest.mark.parametrize("make", FLOWS.values(), ids=list(FLOWS))
def test_vae_scores_one_draw_without_a_second_evaluation(make, monkeypatch):
    model, x = small(make()), bits()
    calls = []
    if model.posterior.flow is not None:
        kind = type(model.posterior.flow)
        for name in ("transform", "invert"):
            method = getattr(kind, name)
            monkeypatch.setattr(
                kind, name, lambda *a, name=name, method=method: calls.append(name) or method(*a)
            )
    model.log_weight(x)
    assert len(calls) == (model.posterior.flow is not None)


@pytest.mark.parametrize("make", FLOWS.values(), ids=list(FLOWS))
def test_vae_weights_average_to_the_same_likelihood_whatever_the_posterior(make):
    model, x = small(make()), bits(3)
    with torch.no_grad():
        model.posterior.normal.weight.mul_(0.1)
        model.posterior.normal.bias.copy_(
            torch.tensor([0.0, 0.0, 3.0, 3.0])
        )  # wide, for weights with a variance
    grid = torch.linspace(-7, 7, 301)
    z = torch.cartesian_prod(grid, grid)
    step = (grid[1] - grid[0]).log()
    with torch.no_grad():
        joint = model.prior().log_prob(z)[:, None] + model.likelihood_of(z[:, None]).log_prob(x)
        exact = joint.logsumexp(0) + 2 * step
        bound = model.log_weight(x, 20_000)
        relative = (bound - exact).exp()
    assert ((relative.mean(0) - 1).abs() < 5 * relative.std(0) / 20_000**0.5).all()


def fitted(flow, steps, seed=0):
    """A linear Gaussian VAE whose posterior was trained, and what SVI then says of its bound; with a standard error."""
    pyro.clear_param_store()
    torch.manual_seed(1)
    model = linear(dim=3)
    x = marginal(model).sample((200,))
    torch.manual_seed(seed)
    model.posterior = FlowPosterior(3, 2, flow)
    use_exact_posterior(model)
    model.eval().decoder.requires_grad_(False)
    svi = SVI(model.model, model.guide, Adam({"lr": 5e-3}), Trace_ELBO())
    for _ in range(steps):
        svi.step(x)
    with torch.no_grad():
        bound = model.log_weight(x, 200).mean(1)
    return bound.mean().item(), (bound.std() / len(bound) ** 0.5).item()


@pytest.mark.parametrize("name", ["planar", "sylvester", "iaf"])
def test_vae_with_a_flow_does_no_worse_than_the_best_normal(name):
    make = {
        "planar": lambda: flows.planar(2, 4),
        "sylvester": lambda: flows.sylvester(2, 2, 2),
        "iaf": lambda: flows.iaf(2, 2, (8,)),
    }[name]
    normal, error = fitted(None, steps=0)
    flow, other = fitted(make(), steps=200)
    assert flow > normal - 3 * math.hypot(error, other)


def test_vae_planar_posterior_of_a_ring_beats_the_normal_by_half_a_nat():
    """p(x | z) makes the posterior a ring of radius 2: the best normal covers its disc, the flow bends around it."""

    class Radius(nn.Module):
        def forward(self, z):
            radius = z.norm(dim=-1, keepdim=True)
            return torch.stack((radius, torch.full_like(radius, math.log(0.2))), dim=-1)

    bounds = {}
    for name, flow in (("normal", None), ("planar", flows.planar(2, 16))):
        pyro.clear_param_store()
        torch.manual_seed(0)
        model = VAE(
            nn.Identity(),
            Radius(),
            FlowPosterior(1, 2, flow),
            StandardNormal(2),
            GaussianLikelihood(),
        )
        x = torch.full((64, 1), 2.0)  # one datum, and as many particles
        svi = SVI(model.model, model.guide, Adam({"lr": 0.02}), AnnealedELBO("energy", 0.01, 300))
        for _ in range(700):
            svi.step(x)
        with torch.no_grad():
            bounds[name] = model.log_weight(x[:1], 4000).mean().item()
    assert bounds["planar"] > bounds["normal"] + 0.5


def test_vae_reparametrised_gradients_agree_with_the_score_function():
    model, x = small(), bits(1)

    class Score(pyro.distributions.Normal):
        has_rsample = False

    bias = model.posterior.normal.bias
    draws = 1000
    h = model.encoder(x).expand(draws, -1)

    def gradient(kind):
        mean, raw = model.posterior.normal(h).chunk(2, -1)
        base = kind(mean, nn.functional.softplus(raw)).to_event(1)

        def guide(_):
            with pyro.plate("data", draws):
                pyro.sample("z", base)

        def generate(_):
            with pyro.plate("data", draws):
                model.generate(x.expand(draws, -1, -1, -1))

        loss = Trace_ELBO().differentiable_loss(generate, guide, x) / draws
        return torch.autograd.grad(loss, bias)[0]

    pathwise, score = (
        torch.stack([gradient(kind) for _ in range(100)])
        for kind in (pyro.distributions.Normal, Score)
    )
    error = ((pathwise.var(0) + score.var(0)) / 100).sqrt()
    assert pathwise.mean(0).abs().max() > 5 * error.max()  # not within the error of zero
    assert ((score.mean(0) - pathwise.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize("make", FLOWS.values(), ids=list(FLOWS))
def test_vae_many_samples_at_once_are_those_of_many_rows(make):
    model, x = small(make()), bits(3)
    torch.manual_seed(3)
    many = model.log_weight(x, 7)
    torch.manual_seed(3)
    one_by_one = model.log_weight(x.repeat(7, 1, 1, 1))
    assert_close(many, one_by_one.view(7, 3), rtol=1e-10, atol=1e-10)


def test_vae_elbo_of_a_batch_is_the_sum_of_those_of_its_images():
    model, x = small(flows.planar(2, 3, 6)), bits(4)
    z = model.posterior_of(x).sample()

    def elbo(rows):
        conditioned = pyro.poutine.condition(model.guide, {"z": z[rows]})
        traces = pyro.poutine.trace(conditioned).get_trace(x[rows])
        replayed = pyro.poutine.trace(
            pyro.poutine.condition(model.model, {"z": z[rows]})
        ).get_trace(x[rows])
        return replayed.log_prob_sum() - traces.log_prob_sum()

    total = sum(elbo(slice(i, i + 1)) for i in range(4))
    assert_close(elbo(slice(None)), total, rtol=1e-10, atol=0)


class Channels(Likelihood):
    """A toy likelihood of whole pixels: three bits that share one logit."""

    num_params, num_noise, site_shape = 1, 3, (3,)
    support, values = BernoulliLikelihood.support, "values 0 and 1"

    def log_prob(self, theta, x):
        return BernoulliLikelihood().log_prob(theta.unsqueeze(-2).expand(*x.shape, 1), x).sum(-1)

    def draw(self, theta, noise):
        return (noise < theta.sigmoid()).to(noise.dtype)

    def marginal(self, x):
        raise NotImplementedError


def test_vae_takes_sites_of_whole_pixels():
    theta = torch.randn(2, 3, 4, 1)
    d = IndependentSites(theta, Channels(), grid_dim=2)
    assert (d.batch_shape, d.event_shape) == ((2,), (3, 3, 4))
    x = d.sample((5,))
    assert x.shape == (5, 2, 3, 3, 4)
    by_hand = (
        pyro.distributions.Bernoulli(logits=theta.movedim(-1, 1)).log_prob(x).sum((-1, -2, -3))
    )
    assert_close(d.log_prob(x), by_hand)
    many = d.sample((4000,)).mean(0)
    assert_close(many, theta.sigmoid().movedim(-1, 1).expand_as(many), rtol=0, atol=0.05)


def test_vae_likelihood_may_be_autoregressive():
    net = MADE((1, 4, 4), (20,), context_dim=3)
    model = perturb(
        VAE(
            DenseEncoder((1, 4, 4), (6,)),
            nn.Linear(2, 3),
            FlowPosterior(6, 2),
            StandardNormal(2),
            net,
        )
    )
    x = bits()
    assert isinstance(model.likelihood_of(model.encode(x)), Autoregressive)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {
        "encoder", "decoder", "posterior", "likelihood"
    }  # fmt: skip
    assert model.sample(3).shape == model.reconstruct(x)[:3].shape == (3, 1, 4, 4)
    assert model.log_weight(x, 7).shape == (7, 5)


@pytest.mark.parametrize(
    "make", [FLOWS["none"], FLOWS["planar"], FLOWS["iaf"]], ids=["none", "planar", "iaf"]
)
def test_vae_bound_is_computed_in_single_precision_under_autocast(make):
    torch.set_default_dtype(torch.float32)
    model, x = small(make()), bits(200)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            found.append(model.log_weight(x))
    assert found[1].dtype == torch.float32
    assert_close(found[1].mean(), found[0].mean(), rtol=0, atol=0.05)


def test_vae_reconstruction_is_drawn_given_the_latent():
    model = small()
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
        model.decoder.layers[-1].bias.fill_(50.0)
    assert model.reconstruct(bits()).equal(torch.ones(5, 1, 4, 4))
    assert model.encode(bits()).shape == (5, 2)


def test_vae_cold_prior_gives_the_same_latent():
    model = small()
    z = []
    model.decode = lambda latent: z.append(latent)
    model.sample(5, temperature=0.0)
    assert_close(z[0], torch.zeros(5, 2))


def vae(encoder=None, decoder=None, posterior=None, prior=None, likelihood=None):
    return VAE(
        encoder or DenseEncoder((1, 4, 4), (6,)),
        decoder or DenseDecoder(2, (1, 4, 4), hidden_dims=(5,)),
        posterior or FlowPosterior(6, 2),
        prior or StandardNormal(2),
        likelihood or BernoulliLikelihood(),
    )


class OneForAll(nn.Module):
    """A posterior that does not depend on the data, and would broadcast."""

    def forward(self, h):
        return StandardNormal(2)()


class Squashing(nn.Module):
    """A decoder that loses the batch."""

    def forward(self, z):
        return torch.zeros(1, 1, 4, 4, 1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: FlowPosterior(6, 2, flows.planar(2, 3, context_dim=5)),
            r"context is the 6 features; got .*\(5,\)",
        ),
        (lambda: FlowPosterior(6, 2, flows.planar(3, 3)), "Planar expects 3 dimensions; got 2"),
        (
            lambda: FlowPosterior(6, 2)(torch.randn(5, 7)),
            r"features of shape \(\*batch, 6\); got \(5, 7\)",
        ),
        (
            lambda: vae(posterior=OneForAll()).guide(bits()),
            r"batch shape \(5,\) and event shape \(2,\).*got \(\) and",
        ),
        (
            lambda: vae(prior=StandardNormal(3)).guide(bits()),
            r"event shape \(3,\).*got \(5,\) and \(2,\)",
        ),
        (
            lambda: vae(decoder=Squashing()).log_weight(bits()),
            r"batch shape of z, \(5,\); got output of shape \(1, 1",
        ),
        (
            lambda: vae(decoder=DenseDecoder(2, (1, 4, 4), 2)).log_weight(bits()),
            r"BernoulliLikelihood expects theta of shape \(\*batch, \*grid, 1\)",
        ),
        (
            lambda: vae(decoder=DenseDecoder(2, (1, 4, 5))).log_weight(bits()),
            r"expects value of shape \(\*batch, 1, 4, 5\); got \(5, 1, 4, 4\)",
        ),
        (
            lambda: vae().guide(bits(shape=(1, 4, 5))),
            r"expects x of shape \(N, 1, 4, 4\); got \(5, 1, 4, 5\)",
        ),
        (lambda: vae().model(2 * bits() + 1), "expects values 0 and 1; got [13]"),
        (lambda: evaluate(vae(), bits() / 2 + 0.25), "expects values 0 and 1; got 0.[27]5"),
        (
            lambda: vae().model(bits(0)),
            r"expects x of shape \(N, 1, 4, 4\), N of at least 1; got \(0, 1, 4, 4\)",
        ),
        (lambda: GatedConvEncoder((1, 6, 8)), r"that 4 divides; got \(1, 6, 8\)"),
        (lambda: GatedConvDecoder(2, (1, 8, 6)), r"that 4 divides; got \(1, 8, 6\)"),
        (
            lambda: (
                load_recipe("vae_mnist")
                .changed({"likelihood": "bernoulli"}, {})
                .build((1, 28, 28), 256)
            ),
            "The likelihood bernoulli expects data of 2 levels; got 256",
        ),
        (
            lambda: load_recipe("vae_mnist").changed({"latent_dim": 0}, {}).build((1, 8, 8), 2),
            r"expects latent_dim from 1 to \d+; got 0",
        ),
        (
            lambda: (
                load_recipe("vae_mnist").changed({"hidden_dims": [400, 0]}, {}).build((1, 8, 8), 2)
            ),
            r"expects each of hidden_dims from 1 to \d+; got 0",
        ),
        (lambda: GatedConvEncoder((1, 8, 8), features=0), r"expects features from 1 to \d+; got 0"),
        (lambda: GatedConvDecoder(2, (1, 8, 8), width=0), r"expects width from 1 to \d+; got 0"),
        (
            lambda: GatedConvEncoder((8, 8)),
            r"expects 3 sizes in the shape \(C, H, W\) of images; got \(8, 8\)",
        ),
        (
            lambda: hierarchical_pixel_vae((0, 8, 8), 4),
            r"expects each of the shape \(C, H, W\) of images from 1 to \d+; got 0",
        ),
        (
            lambda: hierarchical_pixel_vae((1, 8, 8), 4, width=0),
            r"expects width from 1 to \d+; got 0",
        ),
        (lambda: iaf_vae((8, 8), 4), r"ResNetVAE expects a shape \(C, H, W\) of images"),
        (lambda: pixel_vae((1, 8, 8), features=0), r"expects features from 1 to \d+; got 0"),
        (lambda: FlowPosterior(0, 2), r"expects features from 1 to \d+; got 0"),
        (lambda: vae().encode(2 * bits() + 1), "expects values 0 and 1"),
        (
            lambda: vae().decode(torch.zeros(5, 3)),
            r"expects latent of shape \(\*batch, 2\); got \(5, 3\)",
        ),
        (
            lambda: FreeBitsELBO(math.nan),
            r"expects free_nats as a finite number that is at least 0; got nan\. Choose",
        ),
        (lambda: FreeBitsELBO(math.inf), "got inf"),
        (lambda: AnnealedELBO("both"), "anneal 'energy' or 'kl'.*got 'both'"),
        (
            lambda: AnnealedELBO("kl", start=2),
            r"expects start as a finite number .* at most 1; got 2\.0\. Choose",
        ),
        (lambda: FreeBitsELBO(-1.0), "at least 0; got -1"),
        (lambda: AnnealedELBO(-1), r"anneal 'energy' or 'kl'; got -1\. Choose one"),
        (lambda: AnnealedELBO("kl", steps=0), r"expects steps from 1 to \d+; got 0\. Choose"),
        (lambda: FreeBitsELBO(1.0, "pixel"), r"per 'site' or 'channel'; got 'pixel'\. Choose one"),
        (lambda: small().log_weight(bits(), 0), r"expects samples from 1 to \d+; got 0"),
        (
            lambda: load_recipe("vae_mnist").changed(
                {}, {"elbo": {"anneal": "kl", "free_nats": 1}}
            ),
            "Choose one",
        ),
        (lambda: load_recipe("vae_mnist").changed({"flow": "planr"}, {}), "flow expects"),
    ],
)
def test_vae_refuses_what_does_not_fit(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_vae_refuses_a_flow_of_pyro():
    with pytest.raises(
        TypeError, match=r"a Bijection, such as those of pyro_exact.flows; got Planar"
    ):
        FlowPosterior(6, 2, pyro.distributions.transforms.planar(2))


@pytest.mark.parametrize("name", ["vae_mnist", "conv_vae_mnist"])
@pytest.mark.parametrize("likelihood", [None, "categorical", "discretized_logistic_mixture"])
@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 8, 8)])
def test_vae_recipes_of_both_papers_build_for_levels_and_colours(name, likelihood, shape):
    small = {"hidden_dims": [5]} if name == "vae_mnist" else {"width": 2, "features": 4}
    model = (
        load_recipe(name)
        .changed({"latent_dim": 2, "likelihood": likelihood, **small}, {})
        .build(shape, 5)
    )
    x = model.sample(6)
    assert x.shape == (6, *shape)
    assert set(x.flatten().tolist()) <= {0, 1, 2, 3, 4}
    assert model.log_weight(x, samples=2).shape == (2, 6)
    assert model.log_weight(x).isfinite().all()


def test_vae_recipes_of_both_papers_build_with_every_flow():
    for flow in (None, "planar", "radial", "iaf", "coupling", "spline", "sylvester"):
        settings = {
            "latent_dim": 3,
            "hidden_dims": [5],
            "flow": flow,
            "flow_layers": 2,
            "flow_width": 6,
            "flow_rank": 2,
        }
        model = load_recipe("vae_mnist").changed(settings, {}).build((1, 8, 8), 2)
        assert isinstance(model, GenerativeModel)
        assert (model.posterior.flow is None) == (flow is None)
        assert model.log_weight(bits(2, (1, 8, 8))).isfinite().all()


def test_vae_planar_flows_of_the_posterior_are_amortised():
    flow = load_recipe("vae_planar10_mnist").build((1, 28, 28), 2).posterior.flow
    assert isinstance(flow, Planar)
    assert flow.context_shape == (400,)
    assert flow.layers == 10
