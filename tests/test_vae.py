"""VAEs: bounds on a known likelihood, posteriors with and without a flow, and the losses that train them."""

import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.autoregressive import MADE, Autoregressive
from pyro_exact.data import Images
from pyro_exact.distributions import FlowPosterior, IndependentSites, StandardNormal
from pyro_exact.distributions.normal import exponential_normal, softplus_normal
from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
from pyro_exact.models import VAE, GenerativeModel, hierarchical_pixel_vae, iaf_vae, pixel_vae
from pyro_exact.nn import DenseDecoder, DenseEncoder, GatedConvDecoder, GatedConvEncoder
from pyro_exact.recipes import Elbo, Recipe, Training, load_recipe
from pyro_exact.train import evaluate, fit
from pyro_exact.train.elbo import training_elbo
from pyro_exact.transforms import Planar

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.3):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def small(flow=None, features=6, dim=2, shape=(1, 4, 4)):
    """A VAE of binary images, with weights away from their start."""
    encoder, decoder = DenseEncoder(shape, (features,)), DenseDecoder(dim, shape, hidden_dims=(5,))
    posterior = FlowPosterior(features, dim, flow)
    return perturb(VAE(encoder, decoder, posterior, StandardNormal(dim), BernoulliLikelihood()))


def bits(n=5, shape=(1, 4, 4)):
    return torch.randint(2, (n, *shape)).to(torch.get_default_dtype())


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


# A linear Gaussian VAE, whose likelihood is known
# ---------------------------------------------------------------------


class LinearDecoder(nn.Module):
    """Means W z + b with noise of a standard deviation of 0.5."""

    def __init__(self, latents, dim):
        super().__init__()
        self.mean = nn.Linear(latents, dim)

    def forward(self, z):
        mean = self.mean(z)
        return torch.stack((mean, torch.full_like(mean, math.log(0.5))), dim=-1)


def linear(flow=None, latents=2, dim=3):
    model = VAE(
        nn.Identity(), LinearDecoder(latents, dim), FlowPosterior(dim, latents, flow), StandardNormal(latents),
        GaussianLikelihood(),
    )  # fmt: skip
    nn.init.normal_(model.decoder.mean.weight)
    return model


def marginal(model):
    """p(x) of a linear Gaussian model."""
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    return MultivariateNormal(bias, weight @ weight.T + 0.25 * torch.eye(len(bias)))


def use_exact_posterior(model):
    """Give the guide the mean of the exact posterior, and the variances of its best diagonal normal."""
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    precision = torch.eye(weight.shape[1]) + weight.T @ weight / 0.25
    gain = torch.linalg.solve(precision, weight.T / 0.25)
    std = precision.diagonal().rsqrt()
    layer = model.posterior.normal
    with torch.no_grad():
        layer.weight.copy_(torch.cat((gain, torch.zeros_like(gain))))
        layer.bias.copy_(torch.cat((-gain @ bias, std.expm1().log())))


def test_the_elbo_is_below_the_known_likelihood_and_the_importance_weighted_bound_converges_to_it():
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


def test_the_gap_of_the_elbo_is_the_divergence_of_the_guide_from_the_posterior():
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


def test_the_exact_posterior_in_one_dimension_makes_every_weight_the_likelihood():
    model = linear(latents=1)
    use_exact_posterior(model)
    x = marginal(model).sample((50,))
    assert_close(model.log_weight(x), marginal(model).log_prob(x), rtol=1e-8, atol=1e-8)


def test_the_divergence_from_the_prior_by_monte_carlo_is_the_closed_form():
    model = small()
    q, prior = model.posterior_of(bits()), model.prior()
    z = q.sample((40_000,))
    found = q.log_prob(z) - prior.log_prob(z)
    error = found.std(0) / 40_000**0.5
    assert ((found.mean(0) - kl_divergence(q, prior)).abs() < 5 * error).all()


# Posteriors with a flow
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", FLOWS.values(), ids=list(FLOWS))
def test_one_draw_is_scored_without_a_second_evaluation(make, monkeypatch):
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
def test_weights_average_to_the_same_likelihood_whatever_the_posterior(make):
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
def test_a_flow_does_no_worse_than_the_best_normal_that_it_starts_from(name):
    make = {
        "planar": lambda: flows.planar(2, 4),
        "sylvester": lambda: flows.sylvester(2, 2, 2),
        "iaf": lambda: flows.iaf(2, 2, (8,)),
    }[name]
    normal, error = fitted(None, steps=0)
    flow, other = fitted(make(), steps=200)
    assert flow > normal - 3 * math.hypot(error, other)


def test_a_planar_posterior_of_a_ring_beats_the_normal_by_more_than_half_a_nat():
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


# Gradients and sums
# ---------------------------------------------------------------------------------------------------


def test_reparametrised_gradients_agree_with_those_of_the_score_function():
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
def test_many_samples_at_once_are_those_of_many_rows(make):
    model, x = small(make()), bits(3)
    torch.manual_seed(3)
    many = model.log_weight(x, 7)
    torch.manual_seed(3)
    one_by_one = model.log_weight(x.repeat(7, 1, 1, 1))
    assert_close(many, one_by_one.view(7, 3), rtol=1e-10, atol=1e-10)


def test_the_elbo_of_a_batch_is_the_sum_of_those_of_its_images():
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


# Losses that end as the ELBO
# ------------------------------------------------------------------------------------------


def annealed(kind, step):
    elbo = AnnealedELBO(kind, start=0.1, steps=100)
    elbo.step = step
    return elbo


ENDS = {
    "energy": lambda: annealed("energy", 90),
    "kl": lambda: annealed("kl", 1000),
    "no free bits": lambda: FreeBitsELBO(0.0),
    "few free bits": lambda: FreeBitsELBO(1e-3),
}


@pytest.mark.parametrize("make", ENDS.values(), ids=list(ENDS))
def test_at_its_end_the_loss_is_the_elbo_exactly(make):
    model, x = small(flows.planar(2, 3, 6)), bits()
    found = []
    for elbo in (Trace_ELBO(), make()):
        torch.manual_seed(3)
        loss = elbo.differentiable_loss(model.model, model.guide, x)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        torch.manual_seed(3)
        with_gradients = make().loss_and_grads(model.model, model.guide, x)
        found.append((loss.item(), gradients, with_gradients))
    assert found[0][0] == found[1][0] == found[1][2]
    assert_close(found[0][1], found[1][1], rtol=0, atol=0)


@pytest.mark.parametrize("beta", [0.0, 0.35])
@pytest.mark.parametrize("kind", ["energy", "kl"])
def test_the_annealed_loss_is_its_formula(kind, beta):
    model, x = small(flows.planar(2, 3, 6)), bits()
    elbo = AnnealedELBO(kind, start=beta, steps=100)
    torch.manual_seed(3)
    q = model.posterior_of(x)
    z = q.rsample()
    log_q, prior, likelihood = (
        q.log_prob(z),
        model.prior().log_prob(z),
        model.likelihood_of(z).log_prob(x),
    )
    expected = {
        "energy": log_q - beta * (prior + likelihood),
        "kl": beta * (log_q - prior) - likelihood,
    }[kind].sum()
    torch.manual_seed(3)
    assert_close(elbo.differentiable_loss(model.model, model.guide, x), expected)


def test_the_weight_rises_with_each_step_of_svi_and_evaluation_is_the_elbo():
    model, x = small(), bits()
    elbo = AnnealedELBO("energy", 0.25, steps=4)
    svi = SVI(model.model, model.guide, Adam({"lr": 0.0}), elbo)
    weights = []
    for _ in range(5):
        weights.append(elbo.beta)
        svi.step(x)
        torch.manual_seed(3)
        found = svi.evaluate_loss(x)
        torch.manual_seed(3)
        assert found == Trace_ELBO().loss(model.model, model.guide, x)
    assert weights == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("particles", [1, 3])
def test_with_free_bits_a_latent_that_tells_less_has_no_gradient_from_its_divergence(particles):
    model, x = small(), bits()
    q = model.posterior_of(x)
    assert kl_divergence(q, model.prior()).mean() < 20
    elbo = FreeBitsELBO(
        20.0, num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1
    )
    torch.manual_seed(3)
    loss = elbo.differentiable_loss(model.model, model.guide, x)
    torch.manual_seed(3)
    z = model.posterior_of(x).rsample((particles,) if particles > 1 else ())
    reconstruction = -model.likelihood_of(z).log_prob(x).sum() / particles
    assert_close(loss, reconstruction + 20.0 * len(x))
    weights = list(model.posterior.parameters())
    assert_close(torch.autograd.grad(loss, weights), torch.autograd.grad(reconstruction, weights))


def test_with_free_bits_a_latent_that_tells_more_trains_as_ever():
    model, x = small(), bits()
    losses = []
    for elbo in (Trace_ELBO(), FreeBitsELBO(0.01)):
        torch.manual_seed(3)
        losses.append(elbo.differentiable_loss(model.model, model.guide, x).item())
    assert losses[0] == losses[1]


def test_a_resumed_run_goes_on_with_the_weight_that_it_had(tmp_path):
    torch.set_default_dtype(torch.float32)
    images = Images(
        "toy", *(torch.randint(2, (20, 1, 4, 4), dtype=torch.uint8) for _ in range(3)), levels=2
    )
    settings = {"batch_size": 8, "validate_every": 2, "elbo": Elbo(anneal="kl", start=0.0, steps=4)}
    whole, half = (
        Recipe(
            "toy",
            {"name": "dense_vae", "latent_dim": 2, "hidden_dims": [4]},
            "toy",
            Training(steps=steps, **settings),
        )
        for steps in (4, 2)
    )
    expected = fit(whole, images, tmp_path / "whole", progress=False).state_dict()
    fit(half, images, tmp_path / "parts", progress=False)
    found = fit(whole, images, tmp_path / "parts", resume=True, progress=False).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_recipe_asks_for_a_loss():
    annealed, free, plain = (
        training_elbo(elbo) for elbo in (Elbo("energy", 0.5, 7), Elbo(free_nats=2.0), Elbo())
    )
    assert isinstance(annealed, AnnealedELBO)
    assert (annealed.anneal, annealed.start, annealed.steps) == ("energy", 0.5, 7)
    assert isinstance(free, FreeBitsELBO)
    assert free.free_nats == 2.0
    assert type(plain) is Trace_ELBO


# What a VAE is made of
# ------------------------------------------------------------------------------------------------


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


def test_sites_of_whole_pixels():
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


def test_the_likelihood_may_be_autoregressive():
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
def test_under_autocast_the_bound_is_computed_in_single_precision(make):
    torch.set_default_dtype(torch.float32)
    model, x = small(make()), bits(200)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            found.append(model.log_weight(x))
    assert found[1].dtype == torch.float32
    assert_close(found[1].mean(), found[0].mean(), rtol=0, atol=0.05)


def test_a_reconstruction_is_drawn_given_the_latent():
    model = small()
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
        model.decoder.layers[-1].bias.fill_(50.0)
    assert model.reconstruct(bits()).equal(torch.ones(5, 1, 4, 4))
    assert model.encode(bits()).shape == (5, 2)


def test_a_cold_prior_gives_the_same_latent():
    model = small()
    z = []
    model.decode = lambda latent: z.append(latent)
    model.sample(5, temperature=0.0)
    assert_close(z[0], torch.zeros(5, 2))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_gated_convolutions_take_any_batch(batch):
    encoder, decoder = (
        GatedConvEncoder((2, 8, 12), 10, 3, levels=4),
        GatedConvDecoder(4, (2, 8, 12), 5, 3),
    )
    features = encoder(torch.randint(4, (*batch, 2, 8, 12)).double())
    assert features.shape == (*batch, 10)
    assert decoder(torch.randn(*batch, 4)).shape == (*batch, 2, 8, 12, 5)


def test_the_gated_convolutions_of_the_paper_have_its_sizes():
    model = load_recipe("conv_vae_mnist").build((1, 28, 28), 2)
    kernels = [tuple(gate.layer.weight.shape) for gate in list(model.encoder.layers)]
    assert kernels == [
        (64, 1, 5, 5), (64, 32, 5, 5), (128, 32, 5, 5), (128, 64, 5, 5), (128, 64, 5, 5), (512, 64, 7, 7)
    ]  # fmt: skip


# Bad input
# ------------------------------------------------------------------------------------------------------------


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
            "2 levels, 0 and 1; got 256",
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
def test_what_does_not_fit_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_flow_of_pyro_is_refused():
    with pytest.raises(
        TypeError, match=r"a Bijection, such as those of pyro_exact.flows; got Planar"
    ):
        FlowPosterior(6, 2, pyro.distributions.transforms.planar(2))


@pytest.mark.parametrize("raw", [-45.0, -60.0, -100.0, -1e4, -1e30])
@pytest.mark.parametrize("make", [softplus_normal, exponential_normal])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_normal_of_any_width_has_a_density_and_a_gradient(raw, make, dtype):
    mean, raw = (torch.tensor(number, dtype=dtype, requires_grad=True) for number in (1.0, raw))
    normal = make(mean, raw)
    log_p = normal.log_prob(normal.rsample())
    assert log_p > 0
    assert all(gradient.isfinite() for gradient in torch.autograd.grad(log_p, (mean, raw)))


def test_a_temperature_of_zero_has_a_density():
    assert StandardNormal(3)(0.0).log_prob(torch.zeros(3)).isfinite()


def test_free_bits_leave_auxiliary_sites_of_the_guide_alone():
    model, x = small(), bits()

    def guide(x):
        pyro.sample("a", pyro.distributions.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        model.guide(x)

    assert FreeBitsELBO(1.0).differentiable_loss(model.model, guide, x).isfinite()


def test_the_loss_of_an_exact_model_is_not_annealed(tmp_path):
    recipe = load_recipe("nade_mnist").changed({}, {"elbo": {"anneal": "kl"}})
    images = Images("bits", *(bits(4, (1, 4, 4)).byte() for _ in range(3)), levels=2)
    with pytest.raises(
        ValueError, match=r"training\.elbo is for models with latents; nade has an exact likelihood"
    ):
        fit(recipe, images, tmp_path)


@pytest.mark.parametrize("name", ["vae_mnist", "conv_vae_mnist"])
@pytest.mark.parametrize("likelihood", [None, "categorical", "logistic"])
@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 8, 8)])
def test_recipes_of_both_papers_build_for_levels_and_colours(name, likelihood, shape):
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


def test_recipes_of_both_papers_build_with_every_flow():
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


def test_planar_flows_of_the_posterior_are_amortised():
    flow = load_recipe("vae_planar10_mnist").build((1, 28, 28), 2).posterior.flow
    assert isinstance(flow, Planar)
    assert flow.context_shape == (400,)
    assert flow.length == 10
