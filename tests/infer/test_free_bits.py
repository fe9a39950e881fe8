"""Free bits: the formula, and training with it."""

import pytest
import torch
from pyro.distributions import Normal
from pyro.infer import Trace_ELBO
from torch.testing import assert_close

from pyro_exact.data import Images
from pyro_exact.infer import FreeBitsELBO
from pyro_exact.infer.free_bits import by_channel
from pyro_exact.models import iaf_vae
from pyro_exact.recipes import Elbo, Recipe, Training
from pyro_exact.train import evaluate, fit
from pyro_exact.train.lightning_module import training_elbo

pytestmark = pytest.mark.usefixtures("double")

SHAPE, LEVELS = (3, 8, 8), 16


def perturb(module, std=0.1):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def small(flow=True, scales=2, depth=1, latent_channels=2):
    """A model with weights away from their start."""
    return perturb(iaf_vae(SHAPE, LEVELS, latent_channels, 4, scales, depth, flow))


def images(n=4):
    return torch.randint(LEVELS, (n, *SHAPE))


def loss_and_gradients(elbo, model, x):
    torch.manual_seed(3)
    loss = elbo.differentiable_loss(model.model, model.guide, x)
    return loss, torch.autograd.grad(loss, list(model.parameters()))


def test_free_bits_of_none_leave_the_elbo_exactly():
    model, x = small(), images()
    found = [
        loss_and_gradients(elbo, model, x)
        for elbo in (Trace_ELBO(), FreeBitsELBO(0.0, per="channel"))
    ]
    assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize("per", ["site", "channel"])
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("free_nats", [0.5, 2.0, 1e4])
def test_free_bits_loss_is_its_formula(per, particles, free_nats):
    model, x = small(), images()
    settings = {
        "num_particles": particles,
        "vectorize_particles": particles > 1,
        "max_plate_nesting": 1,
    }
    loss, gradients = loss_and_gradients(FreeBitsELBO(free_nats, per, **settings), model, x)
    torch.manual_seed(3)
    guide, joint = model.traces(x, particles)
    expected = -joint.nodes["x"]["log_prob"].mean(0).sum()
    for name in ("z1", "z2"):
        q, p = (by_channel(t.nodes[name]["fn"], t.nodes[name]["value"]) for t in (guide, joint))
        kl = (q - p).mean((0, 1))  # of each channel
        kl = kl if per == "channel" else kl.sum(0, keepdim=True)
        expected = expected + len(x) * kl.clamp_min(free_nats).sum()
    assert_close(loss, expected, rtol=1e-10, atol=0)
    known = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    known = [torch.zeros_like(g) if k is None else k for g, k in zip(gradients, known, strict=True)]
    assert_close(list(gradients), known, rtol=1e-8, atol=1e-8)


def test_free_bits_of_vectors_are_those_of_their_elements():
    d, z = Normal(torch.zeros(4, 3), 2.0).to_event(1), torch.randn(4, 3)
    assert_close(by_channel(d, z), d.base_dist.log_prob(z))


def test_free_bits_of_channels_are_a_setting_of_a_recipe():
    elbo = training_elbo(Elbo(free_nats=0.1, per="channel"))
    assert isinstance(elbo, FreeBitsELBO)
    assert (elbo.free_nats, elbo.per) == (0.1, "channel")


def test_free_bits_train_by_fit(tmp_path):
    torch.set_default_dtype(torch.float32)
    splits = [torch.randint(LEVELS, (n, *SHAPE), dtype=torch.uint8) for n in (20, 4, 4)]
    training = Training(
        steps=3, batch_size=4, elbo=Elbo(free_nats=0.1, per="channel"), ema_decay=0.9
    )
    settings = {"name": "iaf_vae", "latent_channels": 2, "width": 4, "depth": 2}
    model = fit(
        Recipe("toy", settings, "toy", training),
        Images("toy", *splits, levels=LEVELS),
        out=tmp_path,
        progress=False,
    ).model
    assert evaluate(model, splits[2]).bits_per_dim < 10
