"""Convolutional DRAW: the recurrence, one step as a plain VAE, the canvas, divergences and bad input."""

import copy
import pickle

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import kl_divergence
from torch.testing import assert_close

from pyro_exact.diagnostics import diagnose
from pyro_exact.likelihoods import BernoulliLikelihood
from pyro_exact.models import VAE, ConvDRAW
from pyro_exact.models.conv_draw.layer import LSTMState
from pyro_exact.models.conv_draw.recurrence import Recurrence
from pyro_exact.train import evaluate

pytestmark = pytest.mark.usefixtures("double")

TINY = {"latent_channels": 2, "width": 4, "kernel_size": 3, "stride": 2}
LEVELS = 8


def draw(steps=3, depth=1, levels=2, channels=1):
    torch.manual_seed(0)
    model = ConvDRAW((channels, 4, 6), levels, steps, depth=depth, **TINY)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def images(model, n=4):
    return torch.randint(model.levels, (n, *model.shape)).double()


def latents(trace):
    return {name: site["value"] for name, site in trace.nodes.items() if name.startswith("z")}


def score(model, x, z):
    trace = poutine.trace(poutine.condition(model.generate, data=z)).get_trace(x)
    trace.compute_log_prob()
    return trace


MODELS = {
    "bits": lambda: draw(),
    "levels": lambda: draw(levels=LEVELS, channels=3),
    "two layers": lambda: draw(depth=2),
}


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request):
    return request.param()


def test_conv_draw_of_one_step_is_a_vae_with_a_learned_prior():
    mine = draw(steps=1)
    layer, r = mine.recurrence.layers[0], mine.recurrence.first_canvas.expand(1, 1, 4, 6)
    zeros = torch.zeros(1, 4, 2, 3)
    empty = LSTMState(zeros, zeros)

    class Encoder(nn.Module):
        shape = mine.shape

        def forward(self, x):
            both = torch.cat((2 * x - 1, 2 * x - 1 - (2 * r.sigmoid() - 1)), dim=1)
            seen = mine.recurrence.read_image(both).relu()
            return layer.encoder([seen, zeros.expand(len(x), -1, -1, -1)], empty).h

    class Decoder(nn.Module):
        def forward(self, z):
            read = mine.recurrence.read_canvas(r).relu().expand(len(z), -1, -1, -1)
            h = layer.decoder([z, read], empty).h
            return (r + mine.recurrence.write(h)).unsqueeze(-1)

    class Posterior(nn.Module):
        def forward(self, h):
            return layer.posterior(LSTMState(h, h)).to_event(3)

    class Prior(nn.Module):
        def forward(self):
            normal = layer.prior(empty, [])
            return type(normal)(normal.loc[0], normal.scale[0]).to_event(3)

    plain = VAE(Encoder(), Decoder(), Posterior(), Prior(), BernoulliLikelihood())
    x = images(mine)
    torch.manual_seed(1)
    expected = plain.log_weight(x)
    torch.manual_seed(1)
    assert_close(mine.log_weight(x), expected)


def test_conv_draw_recurrence_is_that_of_the_paper():
    """Worked out in a plain loop over the steps, with latents that are given."""
    mine = draw(levels=LEVELS, channels=3)
    x, layer = images(mine), mine.recurrence.layers[0]
    guide, joint = mine.traces(x)

    pixels = 2 * x / (LEVELS - 1) - 1
    r = mine.recurrence.first_canvas.expand(4, 6, 4, 6)
    h_e = c_e = h_d = c_d = torch.zeros(4, 4, 2, 3)  # of four images
    for step in range(1, 4):
        site = f"z{step}_1"
        z = guide.nodes[site]["value"]
        prior = joint.nodes[site]["fn"].base_dist
        mean, log_std = layer.to_prior(h_d).chunk(2, dim=1)
        assert_close(prior.loc.expand_as(mean), mean)
        assert_close(prior.scale.log().expand_as(mean), log_std)

        error = pixels - r[:, :3]
        seen = mine.recurrence.read_image(torch.cat((pixels, error), 1)).relu()
        h_e, c_e = lstm(layer.encoder, [seen, h_d], h_e, c_e)
        posterior = guide.nodes[site]["fn"].base_dist
        mean, log_std = layer.to_posterior(h_e).chunk(2, dim=1)
        assert_close(posterior.loc, mean)
        assert_close(posterior.scale.log(), log_std)

        h_d, c_d = lstm(layer.decoder, [z, mine.recurrence.read_canvas(r).relu()], h_d, c_d)
        r = r + mine.recurrence.write(h_d)
    assert_close(joint.nodes["x"]["fn"].theta[..., 1:7].movedim(-1, 1), r)


def lstm(cell, inputs, h, c):
    i, f, o, g = cell.gates(torch.cat([*inputs, h], dim=1)).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def test_conv_draw_names_its_latents_in_the_order_of_their_draws(model):
    guide, joint = model.traces(images(model))
    assert list(latents(guide)) == list(latents(joint)) == model.latent_names
    assert {z.shape for z in latents(guide).values()} == {(4, 2, 2, 3)}


def test_conv_draw_prior_sees_earlier_latents_and_no_data(model):
    x = images(model)
    z = {name: value.clone() for name, value in latents(model.traces(x)[0]).items()}
    before = score(model, x, z)
    other = score(model, model.levels - 1 - x, z)
    for changed, name in enumerate(model.latent_names):
        assert torch.equal(before.nodes[name]["log_prob"], other.nodes[name]["log_prob"])

        moved = score(model, x, z | {name: z[name] + 1})
        for place, later in enumerate(model.latent_names):
            prior, after = (t.nodes[later]["fn"].base_dist.loc for t in (before, moved))
            if place <= changed:
                assert torch.equal(prior, after)
        assert not torch.equal(moved.nodes["x"]["fn"].theta, before.nodes["x"]["fn"].theta)

    last = model.latent_names[-1]
    first = score(model, x, z | {"z1_1": z["z1_1"] + 1}).nodes[last]["fn"].base_dist.loc
    assert not torch.equal(first, before.nodes[last]["fn"].base_dist.loc)


def test_conv_draw_posterior_sees_the_image_and_earlier_latents(model):
    x = images(model)
    z = {name: value.clone() for name, value in latents(model.traces(x)[0]).items()}

    def mean(name, x, z):
        trace = poutine.trace(poutine.condition(model.infer, data=z)).get_trace(x)
        return trace.nodes[name]["fn"].base_dist.loc

    for name in model.latent_names:
        assert not torch.equal(mean(name, model.levels - 1 - x, z), mean(name, x, z))
        assert torch.equal(mean(name, x, z | {name: z[name] + 1}), mean(name, x, z))
    for name in model.latent_names[len(model.recurrence.layers) :]:
        assert not torch.equal(mean(name, x, z | {"z1_1": z["z1_1"] + 1}), mean(name, x, z))


def test_conv_draw_divergences_of_the_steps_are_not_negative_and_add_up(model):
    x = images(model)
    guide, joint = model.traces(x, 200)
    for name in model.latent_names:
        q, p = guide.nodes[name], joint.nodes[name]
        divergence = kl_divergence(q["fn"], p["fn"])
        assert (divergence > 0).all()

        # The difference of the log-probabilities has the divergence as its mean.
        error = q["log_prob"] - p["log_prob"] - divergence
        assert (error.mean(0).abs() < 5 * error.std(0) / 200**0.5).all()

    torch.manual_seed(1)
    weights = model.log_weight(x, 3)
    torch.manual_seed(1)
    guide, joint = model.traces(x, 3)
    total = joint.nodes["x"]["log_prob"]
    for name in model.latent_names:
        total = total + joint.nodes[name]["log_prob"] - guide.nodes[name]["log_prob"]
    assert_close(weights, total)


def test_conv_draw_importance_weighted_bound_is_above_the_elbo(model):
    x = images(model, 10)
    elbo, bound = (evaluate(model, x, k=k).nats for k in (1, 50))
    assert bound < elbo


def test_conv_draw_many_samples_at_once_are_those_of_many_rows(model):
    x = images(model)
    torch.manual_seed(3)
    many = model.log_weight(x, 5)
    torch.manual_seed(3)
    rows = model.log_weight(x.repeat(5, 1, 1, 1)).view(5, 4)
    assert_close(many, rows, rtol=1e-10, atol=1e-10)


def test_conv_draw_several_particles_have_the_mean_of_their_losses(model):
    x = images(model)
    torch.manual_seed(3)
    elbo = Trace_ELBO(5, max_plate_nesting=1, vectorize_particles=True)
    loss = elbo.loss(model.model, model.guide, x)
    torch.manual_seed(3)
    assert_close(loss, -model.log_weight(x, 5).sum().item() / 5, rtol=1e-10, atol=0)


@pytest.mark.parametrize("change", ["nothing", "z1_1", "z2_1", "z3_1"])
def test_conv_draw_model_takes_the_decoder_of_its_guide_unless_something_changed(
    change, monkeypatch
):
    mine, calls = draw(steps=4), []
    decode = Recurrence._decode
    monkeypatch.setattr(Recurrence, "_decode", lambda *a: calls.append(1) or decode(*a))
    x = images(mine)
    z = latents(mine.traces(x)[0])
    assert len(calls) == 4

    if change != "nothing":
        z[change] = z[change] + 1
    calls.clear()
    found = score(mine, x, z).log_prob_sum()
    assert len(calls) == (0 if change == "nothing" else 5 - int(change[1]))
    assert (
        found == score(mine, x, {name: value.clone() for name, value in z.items()}).log_prob_sum()
    )


def test_conv_draw_copies_leave_the_cache_behind():
    mine = draw()
    x = images(mine)
    kept = mine.traces(x)
    for other in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert len(other.recurrence._cache) == 0
        torch.manual_seed(2)
        expected = mine.log_weight(x)
        torch.manual_seed(2)
        assert_close(other.log_weight(x), expected)
    assert len(kept) == 2


def test_conv_draw_canvas_holds_the_parameters_of_the_pixels():
    mine = draw(levels=LEVELS, channels=3)
    r = 0.3 * torch.randn(5, 6, 4, 6)
    mean, log_scale = r.chunk(2, dim=1)
    assert torch.equal(mine.pixels.means(r), mean)

    # Logistics cut halfway between levels, and open at both ends.
    x, half = images(mine, 5), (LEVELS - 1) / 2
    upper, lower = (((x + end) / half - 1 - mean) / log_scale.exp() for end in (0.5, -0.5))
    mass = upper.sigmoid().where(x < LEVELS - 1, 1) - lower.sigmoid().where(x > 0, 0)
    log_p = mine.likelihood_of(r).log_prob(x)
    assert_close(log_p, mass.log().sum((1, 2, 3)), rtol=1e-8, atol=1e-8)

    bits = draw().pixels
    assert_close(bits.means(r), 2 * r.sigmoid() - 1)


def test_conv_draw_starts_at_the_marginal_distribution():
    mine = ConvDRAW((1, 4, 6), 2, 2, **TINY)
    x = (torch.rand(200, 1, 4, 6) < 0.2).double()
    mine.initialize(x)
    assert_close(mine.recurrence.first_canvas.sigmoid().squeeze(), x.mean(), rtol=1e-3, atol=0)

    mine = ConvDRAW((3, 4, 6), LEVELS, 2, **TINY)
    x = torch.randint(LEVELS, (200, 3, 4, 6))
    mine.initialize(x)
    scaled = 2 * x.double().movedim(1, 0).flatten(1) / (LEVELS - 1) - 1
    mean, log_scale = mine.recurrence.first_canvas.flatten().chunk(2)
    assert_close(mean, scaled.median(1).values, rtol=0, atol=0.2)
    assert_close(log_scale.exp() * torch.pi / 3**0.5, scaled.std(1, correction=0))


def test_conv_draw_samples_of_few_steps_share_the_first_latents(monkeypatch):
    mine, canvases = draw(steps=4), []
    plain = ConvDRAW.likelihood_of
    monkeypatch.setattr(ConvDRAW, "likelihood_of", lambda s, r: canvases.append(r) or plain(s, r))
    for steps in (0, 1, 4):
        torch.manual_seed(0)
        assert mine.sample_steps(3, steps).shape == (3, 1, 4, 6)
    torch.manual_seed(0)
    mine.sample(3)
    none, one, four, every = canvases
    assert_close(none[0], none[1])
    assert not torch.allclose(one[0], one[1])
    assert torch.equal(four, every)

    # A temperature of zero is the mean in each step.
    mine.sample(3, temperature=0.0)
    assert_close(canvases[-1], none)


def test_conv_draw_reconstructions_use_the_latents_of_the_first_steps(monkeypatch):
    mine, canvases = draw(steps=4), []
    plain = ConvDRAW.likelihood_of
    monkeypatch.setattr(ConvDRAW, "likelihood_of", lambda s, r: canvases.append(r) or plain(s, r))
    x = images(mine, 3)
    for steps in (0, 1, 4, None):
        torch.manual_seed(0)
        assert mine.reconstruct(x, steps).shape == x.shape
    none, one, four, every = canvases
    assert_close(none[0], none[1])
    assert not torch.allclose(one, none)
    assert torch.equal(four, every)
    with pytest.raises(ValueError, match="steps from 0 to 4; got 5"):
        mine.reconstruct(x, 5)


def test_diagnose_shows_the_nats_of_each_step_of_conv_draw():
    mine = draw()
    found = diagnose(mine, images(mine, 5), samples=100)
    assert list(found.levels) == mine.latent_names
    assert list(found.summary()["kl"]) == mine.latent_names
    assert all(level.kl_by_unit.shape == (2, 2, 3) for level in found.levels.values())


def test_conv_draw_under_autocast_keeps_latents_and_canvas_in_full_precision():
    torch.set_default_dtype(torch.float32)
    mine = draw()
    with torch.autocast("cpu", torch.bfloat16):
        guide, joint = mine.traces(images(mine).float())
    assert all(z.dtype == torch.float32 for z in latents(guide).values())
    assert joint.nodes["x"]["log_prob"].dtype == torch.float32


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: ConvDRAW((1, 4, 6), 2, stride=4), r"multiples of the stride 4; got \(4, 6\)"),
        (lambda: ConvDRAW((1, 9, 9), 2, stride=3), "a stride of 2, 4 or 8; got 3"),
        (lambda: ConvDRAW((1, 8, 8), 2, stride=None), "a stride of 2, 4 or 8; got None"),
        (lambda: ConvDRAW((8, 8), 2), "3 sizes in shape"),
        (lambda: ConvDRAW((1, 8, 8), 1), "expects levels from 2"),
        (lambda: ConvDRAW((1, 8, 8), 2, steps=0), "expects steps from 1"),
        (lambda: ConvDRAW((1, 8, 8), 2, depth=0), "expects depth from 1"),
        (lambda: ConvDRAW((1, 8, 8), 2, kernel_size=4), "odd"),
        (lambda: draw().sample_steps(2, 4), "expects steps from 0 to 3; got 4"),
        (lambda: draw().sample(2, temperature=-1.0), "temperature as a finite number"),
        (lambda: draw().log_weight(torch.full((2, 1, 4, 6), 2.0)), "values 0 and 1; got 2"),
        (lambda: draw().log_weight(torch.zeros(2, 1, 4, 5)), r"got \(2, 1, 4, 5\)"),
    ],
)
def test_conv_draw_refuses_what_does_not_fit(run, message):
    with pytest.raises(ValueError, match=message):
        run()
