"""The two-level PixelVAE: its autoregressive prior, what each level reaches, and how its bound behaves."""

import math
from dataclasses import replace

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN
from pyro_exact.diagnostics import Level, diagnose, inference_data, save_page
from pyro_exact.models import hierarchical_pixel_vae
from pyro_exact.recipes import load_recipe

pytestmark = pytest.mark.usefixtures("double")

SIZES = {
    "latent_dim": 2, "latent_channels": 2, "width": 3, "features": 5, "decoder_width": 3, "decoder_depth": 2,
    "kernel_size": 3, "head_width": 12,
    "prior_width": 5, "prior_depth": 2,
}  # fmt: skip


def small(shape=(1, 8, 12), levels=2, **sizes):
    """A two-level PixelVAE with weights away from their start."""
    model = hierarchical_pixel_vae(shape, levels, **(SIZES | sizes))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.requires_grad_(False).eval()


def bits(n=5, shape=(1, 8, 12)):
    return torch.randint(2, (n, *shape)).double()


def test_hierarchical_prior_of_the_map_is_a_product_of_normals():
    """Later values are drawn again for each position, and must have no influence."""
    model = small()
    z1, context = torch.randn(4, 2, 2, 3), model.from_top(torch.randn(4, 2, 1, 1))
    log_p = torch.zeros(4)
    for place in range(6):
        known = torch.arange(6).view(2, 3) < place
        mean, log_std = (
            model.bottom_prior(z1.where(known, torch.randn(())), context)
            .flatten(1, 2)[:, place]
            .chunk(2, -1)
        )
        log_p += Normal(mean, log_std.exp()).log_prob(z1.flatten(2)[..., place]).sum(-1)
    assert_close(Autoregressive(model.bottom_prior, context).log_prob(z1), log_p)


def test_hierarchical_prior_of_the_map_has_mass_one():
    """Of two positions with one number each, on a grid."""
    model = small((1, 4, 8), latent_channels=1)
    line = torch.linspace(-25, 25, 251)
    z1 = torch.cartesian_prod(line, line).view(-1, 1, 1, 2)
    log_p = model.bottom_prior_of(torch.randn(2)).log_prob(z1)
    assert_close(log_p.exp().sum() * (line[1] - line[0]) ** 2, torch.tensor(1.0), rtol=0, atol=1e-6)


def test_hierarchical_draws_a_map_from_noise_that_is_drawn_first():
    model, z2 = small(), torch.randn(3, 2)
    torch.manual_seed(3)
    drawn = model.bottom_prior_of(z2).sample()
    torch.manual_seed(3)
    normal = Normal(0.0, 1.0).icdf(torch.rand(3, 12)).view(3, 6, 2)
    by_hand = torch.zeros(3, 2, 6)
    for place in range(6):
        theta = model.bottom_prior(
            by_hand.view(3, 2, 2, 3), model.from_top(z2[..., None, None])
        ).flatten(1, 2)
        mean, log_std = theta[:, place].chunk(2, -1)
        by_hand[..., place] = mean + log_std.exp() * normal[:, place]
    assert_close(drawn, by_hand.view_as(drawn))


def test_hierarchical_vector_moves_every_position_and_the_map_every_pixel():
    model, z1, x = small(), torch.randn(1, 2, 2, 3), bits(1)
    first, second = (
        model.bottom_prior(z1, model.from_top(z2)) for z2 in torch.randn(2, 1, 2, 1, 1)
    )
    assert (first != second).any(-1).all()
    first, second = (model.likelihood(x, model.from_bottom(z)) for z in torch.randn(2, 1, 2, 2, 3))
    assert (first != second).all()


def test_hierarchical_mass_of_all_images_given_the_map_is_one():
    model = small((1, 4, 4), decoder_width=2, decoder_depth=1)
    images = (torch.arange(2**16)[:, None] >> torch.arange(16) & 1).double().view(-1, 1, 4, 4)
    d = model.likelihood_of(torch.randn(2, 1, 1))
    mass = sum(d.log_prob(x).exp().sum() for x in images.split(8192))
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-10)


def differs(images):
    """Return True if the images differ."""
    return bool((images != images[:1]).any())


def test_hierarchical_sample_varies_one_level_and_shares_other_noise():
    model, levels = small(), (None, "top", "bottom", "pixels")
    for network in (model.from_top, model.from_bottom):
        for p in network.parameters():
            p.mul_(3)  # so that each level has a say
    assert all(differs(model.sample(20, vary=level)) for level in levels)
    for p in model.from_top.parameters():
        p.zero_()  # the map knows nothing of the vector
    assert [differs(model.sample(20, vary=level)) for level in levels] == [True, False, True, True]
    for p in model.from_bottom.parameters():
        p.zero_()  # and the image nothing of the map
    assert [differs(model.sample(20, vary=level)) for level in levels] == [True, False, False, True]


def test_hierarchical_draws_of_shared_noise_differ_by_their_contexts_alone():
    model = small()
    z2 = torch.randn(2)
    same = model.bottom_prior_of(z2.expand(3, 2)).sample(shared_noise=True)
    assert_close(same, same[:1].expand_as(same))
    several = model.bottom_prior_of(torch.stack((z2, -z2))).sample((2,), shared_noise=True)
    assert_close(several[0], several[1])
    assert differs(several[0])


def test_hierarchical_at_temperature_zero_draws_the_origin():
    model, seen = small(), []
    prior_of = model.bottom_prior_of
    model.bottom_prior_of = lambda z2: seen.append(z2) or prior_of(z2)
    model.sample(3, temperature=0.0)
    assert_close(seen[0], torch.zeros(3, 2))


def test_hierarchical_samples_are_drawn_by_steps_and_not_by_passes(monkeypatch):
    model, steps = small(), []

    def no_pass(*_):
        raise AssertionError("a pass over a whole map")

    step = GatedPixelCNN.step
    monkeypatch.setattr(GatedPixelCNN, "forward", no_pass)
    monkeypatch.setattr(GatedPixelCNN, "step", lambda *a: steps.append(1) or step(*a))
    assert model.sample(5).shape == model.reconstruct(bits()).shape == (5, 1, 8, 12)
    assert len(steps) == 6 + 96 + 96


def test_hierarchical_bounds_rise_with_the_samples_to_the_likelihood():
    """With one number in either level the likelihood is an integral over a plane."""
    model, x = small((1, 4, 4), latent_dim=1, latent_channels=1), bits(6, (1, 4, 4))
    model.top_posterior.normal.weight.mul_(0.1)
    model.top_posterior.normal.bias.copy_(
        torch.tensor([0.0, 1.5])
    )  # wide, so that weights have a variance
    model.to_bottom[0].weight.mul_(0.1)
    model.to_bottom[0].bias.copy_(torch.tensor([0.0, 2.5]))
    z2, z1 = torch.linspace(-8, 8, 81)[:, None], torch.linspace(-30, 30, 301).view(-1, 1, 1, 1)
    area = ((z2[1] - z2[0]) * (z1[1] - z1[0]).squeeze()).log()
    prior = (
        model.top_prior().log_prob(z2) + model.bottom_prior_of(z2).log_prob(z1[:, None])
    ).logsumexp(1)
    exact = (prior[:, None] + model.likelihood_of(z1[:, None]).log_prob(x)).logsumexp(0) + area
    weights, k = model.log_weight(x, 2000), 20
    elbo, bound = weights.mean(1), (weights.view(-1, k, 6).logsumexp(1) - math.log(k)).mean(1)
    error = elbo.std() / len(elbo) ** 0.5 + bound.std() / len(bound) ** 0.5
    assert elbo.mean() + 5 * error < bound.mean() < exact.mean() + 5 * error
    relative = (weights - exact).exp()
    assert ((relative.mean(0) - 1).abs() < 5 * relative.std(0) / 2000**0.5).all()


def test_hierarchical_particles_are_samples_of_every_image():
    model, x = small(), bits(3)
    torch.manual_seed(3)
    weights = model.log_weight(x, 7)
    torch.manual_seed(3)
    elbo = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=1)
    assert weights.shape == (7, 3)
    assert_close(weights.sum().item() / 7, -elbo.loss(model.model, model.guide, x))


def test_hierarchical_diagnosis_tells_the_divergence_of_each_level(tmp_path):
    model, x = small(), bits(6)
    found = diagnose(model, x, samples=400)
    top, bottom = model.posteriors_of(x)
    assert (found.levels["z2"].activity.shape, found.levels["z1"].activity.shape) == (
        (2,),
        (2, 2, 3),
    )
    exact = kl_divergence(top, model.top_prior())
    assert_close(found.levels["z2"].kl_by_unit.sum(), exact.mean())
    z2, z1 = top.sample((400,)), bottom.sample((400,))
    below = bottom.log_prob(z1) - model.bottom_prior_of(z2).log_prob(z1)
    error = below.std(0) / 400**0.5
    assert ((found.levels["z1"].kl - below.mean(0)).abs() < 8 * error).all()
    assert found.levels["z1"].kl_by_unit is None
    assert found.kl == pytest.approx(sum(level.kl.mean().item() for level in found.levels.values()))
    one = Level(torch.full((6,), 0.5), None, torch.zeros(2, 2, 3), found.levels["z1"].draws)
    told = replace(
        found, levels={"z2": replace(one, kl=torch.full((6,), 9.0)), "z1": one}, decoder_gain=9.0
    )
    told = replace(told, mutual_information=1.0)
    assert "But next to nothing is told by z1 (KL 0.5 nats, 0 of 12 units active)." in told.verdict
    save_page(found, inference_data(found), 2, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("components", [None, 2])
def test_hierarchical_photographs_of_both_sizes(side, components):
    model = small((3, side, side), 256, components=components)
    x = torch.randint(256, (1, 3, side, side))
    top, bottom = model.posteriors_of(x)
    assert (top.event_shape, bottom.event_shape) == ((2,), (2, side // 4, side // 4))
    assert model.log_weight(x).isfinite().all()


def test_hierarchical_recipe_has_the_size_of_the_official_code():
    model = load_recipe("hierarchical_pixel_vae_cifar10").build((3, 32, 32), 256)
    assert model.top_prior().event_shape == (512,)
    assert model.bottom_prior.event_shape == (64, 8, 8)
    assert model.likelihood.likelihood.num_params == 256


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: small(decoder_depth=0), r"expects decoder_depth from 1 to \d+; got 0"),
        (lambda: small(latent_dim=0), r"expects latent_dim from 1 to \d+; got 0"),
        (lambda: small((1, 6, 8)), r"multiples of 4; got \(1, 6, 8\)"),
        (lambda: small(levels=1), r"expects levels from 2 to \d+; got 1"),
        (lambda: small().model(bits() + 1), "values 0 and 1; got 2"),
        (
            lambda: small().model(bits(0)),
            r"expects x of shape \(N, 1, 8, 12\), N of at least 1; got \(0, 1, 8, 12\)",
        ),
        (
            lambda: small().guide(bits(shape=(1, 8, 8))),
            r"expects x of shape \(N, 1, 8, 12\); got \(5, 1, 8, 8\)",
        ),
        (lambda: small().sample(2, vary="middle"), "'top', 'bottom' or 'pixels'; got 'middle'"),
        (
            lambda: small().likelihood_of(torch.randn(2, 2, 2)),
            r"expects z1 of shape \(\*batch, 2, 2, 3\); got \(2, 2, 2\)",
        ),
    ],
)
def test_hierarchical_refuses_what_does_not_fit(act, message):
    with pytest.raises(ValueError, match=message):
        act()
