"""PixelVAE: what z reaches, what the pixels given z are, and how its bound behaves."""

import math

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.testing import assert_close

from pyro_exact.autoregressive import CausalNet, GatedPixelCNN
from pyro_exact.distributions import IndependentSites
from pyro_exact.models import VAE, pixel_vae
from pyro_exact.recipes import load_recipe

pytestmark = pytest.mark.usefixtures("double")

SIZES = {"decoder_width": 3, "kernel_size": 3, "head_width": 16, "width": 3, "features": 5}

KINDS = {
    "one layer": {"decoder_depth": 1},
    "two layers": {"decoder_depth": 2},
    "upsampled": {"decoder_depth": 2, "upsample": True},
    "no layer": {"decoder_depth": 0},
}


def small(kind="two layers", latent_dim=2, shape=(1, 4, 4), levels=2):
    """A PixelVAE with weights away from their start."""
    model = pixel_vae(shape, levels, latent_dim, **(SIZES | KINDS[kind]))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.requires_grad_(False).eval()


def bits(n=5, shape=(1, 4, 4)):
    return torch.randint(2, (n, *shape)).double()


def every_image():
    return (torch.arange(2**16)[:, None] >> torch.arange(16) & 1).double().view(-1, 1, 4, 4)


@pytest.fixture(params=KINDS)
def model(request):
    return small(request.param)


def test_pixel_vae_mass_of_all_images_given_z_is_one(model):
    d = model.likelihood_of(torch.randn(2))
    mass = sum(d.log_prob(x).exp().sum() for x in every_image().split(8192))
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-10)


def test_pixel_vae_latent_moves_the_first_pixel_and_all_others(model):
    """The first pixel sees no other: what moves it is z alone."""
    z = torch.randn(2)
    moved, x = z + 1, bits()
    if isinstance(model.likelihood, CausalNet):
        theta, after = (
            model.likelihood(x, model.decoder(each).expand(5, *model.decoder(each).shape))
            for each in (z, moved)
        )
    else:
        theta, after = model.decoder(z), model.decoder(moved)
    assert (theta != after).all()


@pytest.mark.parametrize("kind", ["two layers", "upsampled"])
def test_pixel_vae_latent_is_in_every_gate(kind):
    """Whichever layer is the only one to see z, the first pixel feels it."""
    layers = KINDS[kind]["decoder_depth"]
    for chosen in range(layers):
        model = small(kind)
        gates = [layer.context for layer in (model.likelihood.first, *model.likelihood.layers)]
        assert len(gates) == layers
        for number, gate in enumerate(gates):
            if number != chosen:
                gate.weight.zero_()
        thetas = [model.likelihood(bits(1) * 0, model.decoder(z)) for z in torch.randn(2, 1, 2)]
        assert (thetas[0] - thetas[1])[0, 0, 0, 0].abs() > 1e-6


def test_pixel_vae_upsampled_latent_is_a_map():
    z = torch.randn(3, 2)
    assert small("two layers").decoder(z) is z
    context = small("upsampled").decoder(z)
    assert context.shape == (3, 3, 4, 4)
    assert (context.flatten(2).std(-1) > 0).all()


def flipped(x):
    """The images with their first pixel flipped."""
    return torch.cat(((1 - x.flatten(1)[:, :1]), x.flatten(1)[:, 1:]), dim=1).view_as(x)


def test_pixel_vae_pixels_are_independent_only_without_layers(model):
    d, x = model.likelihood_of(torch.randn(2)), bits(20)
    x[..., 0, 0] = 0
    odds = d.log_prob(flipped(x)) - d.log_prob(x)  # of the first pixel, given all others
    assert (odds.std() > 1e-3) == isinstance(model.likelihood, CausalNet)


def test_pixel_vae_without_layers_is_a_vae_with_the_same_parts():
    model, x = small("no layer"), bits()
    plain = VAE(model.encoder, model.decoder, model.posterior, model.prior, model.likelihood)
    found = []
    for each in (model, plain):
        torch.manual_seed(3)
        found.append(each.log_weight(x))
    assert torch.equal(*found)
    z = torch.randn(2)
    assert isinstance(model.likelihood_of(z), IndependentSites)
    pixels = torch.distributions.Bernoulli(logits=model.decoder(z).squeeze(-1))
    assert_close(model.likelihood_of(z).log_prob(x), pixels.log_prob(x).sum((1, 2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_vae_bounds_rise_with_the_samples_to_the_likelihood(kind):
    """With one latent the likelihood is an integral over a line."""
    model, x = small(kind, latent_dim=1), bits(6)
    model.posterior.normal.weight.mul_(0.1)
    model.posterior.normal.bias.copy_(
        torch.tensor([0.0, 1.5])
    )  # wide, so that weights have a variance
    z = torch.linspace(-8, 8, 401)[:, None]
    joint = model.prior().log_prob(z)[:, None] + model.likelihood_of(z[:, None]).log_prob(x)
    exact = joint.logsumexp(0) + (z[1] - z[0]).log()
    weights, k = model.log_weight(x, 2000), 20
    elbo, bound = weights.mean(1), (weights.view(-1, k, 6).logsumexp(1) - math.log(k)).mean(1)
    error = elbo.std() / len(elbo) ** 0.5 + bound.std() / len(bound) ** 0.5
    assert elbo.mean() + 5 * error < bound.mean() < exact.mean() + 5 * error
    relative = (weights - exact).exp()
    assert ((relative.mean(0) - 1).abs() < 5 * relative.std(0) / 2000**0.5).all()


def test_pixel_vae_elbo_of_a_batch_is_the_sum_of_its_images(model):
    x = bits(4)
    z = model.encode(x)
    one_by_one = [
        model.likelihood_of(each[None]).log_prob(image[None])
        for each, image in zip(z, x, strict=True)
    ]
    assert_close(model.likelihood_of(z).log_prob(x), torch.cat(one_by_one), rtol=1e-12, atol=0)
    assert_close(
        model.posterior_of(x).log_prob(z),
        torch.cat([model.posterior_of(x[i : i + 1]).log_prob(z[i : i + 1]) for i in range(4)]),
    )


def test_pixel_vae_particles_are_samples_of_every_image(model):
    x = bits(3)
    torch.manual_seed(3)
    weights = model.log_weight(x, 7)
    torch.manual_seed(3)
    elbo = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=1)
    assert weights.shape == (7, 3)
    assert_close(weights.sum().item() / 7, -elbo.loss(model.model, model.guide, x))


@pytest.mark.parametrize("kind", ["one layer", "two layers", "upsampled"])
def test_pixel_vae_samples_are_drawn_by_steps_and_not_by_passes(kind, monkeypatch):
    model, steps = small(kind), []

    def no_pass(*_):
        raise AssertionError("a pass over the whole image")

    step = GatedPixelCNN.step
    monkeypatch.setattr(GatedPixelCNN, "forward", no_pass)
    monkeypatch.setattr(GatedPixelCNN, "step", lambda *a: steps.append(1) or step(*a))
    assert model.sample(5).shape == (5, 1, 4, 4)
    assert len(steps) == 16
    assert set(model.sample(5).unique().tolist()) <= {0.0, 1.0}


def test_pixel_vae_takes_levels_and_colours():
    x = torch.randint(5, (3, 3, 4, 8)).double()
    for kind in KINDS:
        model = small(kind, shape=(3, 4, 8), levels=5)
        assert model.log_weight(x).isfinite().all()
        assert model.sample(2).shape == (2, 3, 4, 8)


@pytest.mark.parametrize("width", [8, 32])
def test_pixel_vae_starts_with_a_posterior_that_sees_the_data(width):
    model = pixel_vae((1, 28, 28), upsample=True, width=width).requires_grad_(False)
    assert model.posterior_of(bits(50, (1, 28, 28))).mean.std(0).mean() > 0.1
    assert model.decoder(torch.randn(50, 16)).std(0).mean() > 0.1


def test_pixel_vae_recipe_has_the_size_of_the_official_code():
    model = load_recipe("pixel_vae_mnist").build((1, 28, 28), 2)
    net = model.likelihood
    assert len(net.layers) == 12
    assert [layer.vertical.weight.shape[2:] for layer in (net.first, net.layers[0])] == [
        (3, 7),
        (3, 5),
    ]
    assert net.first.out.weight.shape[1] == 16
    assert (net.context_shape, model.prior().event_shape) == ((16,), (16,))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: pixel_vae((1, 4, 4), decoder_depth=-1),
            r"expects decoder_depth from 0 to \d+; got -1",
        ),
        (lambda: pixel_vae((1, 4, 4), latent_dim=0), r"expects latent_dim from 1 to \d+; got 0"),
        (lambda: pixel_vae((1, 6, 4)), r"multiples of 4; got \(1, 6, 4\)"),
        (lambda: pixel_vae((1, 4, 4), levels=1), r"expects levels from 2 to \d+; got 1"),
        (
            lambda: pixel_vae((3, 4, 4), decoder_width=2),
            "at least 3 channels, one for each colour; got 2",
        ),
        (lambda: pixel_vae((1, 4, 4), kernel_size=4), "expects an odd kernel_size; got 4"),
        (lambda: small().model(bits() + 1), "values 0 and 1; got 2"),
        (
            lambda: small().model(bits(0)),
            r"expects x of shape \(N, 1, 4, 4\), N of at least 1; got \(0, 1, 4, 4\)",
        ),
        (
            lambda: small().guide(bits(shape=(1, 4, 8))),
            r"expects x of shape \(N, 1, 4, 4\); got \(5, 1, 4, 8\)",
        ),
        (
            lambda: small().decode(torch.randn(5, 3)),
            r"expects latent of shape \(\*batch, 2\); got \(5, 3\)",
        ),
    ],
)
def test_pixel_vae_refuses_what_does_not_fit(act, message):
    with pytest.raises(ValueError, match=message):
        act()
