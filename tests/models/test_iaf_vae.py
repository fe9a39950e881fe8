"""The ResNet VAE with inverse autoregressive flows."""

import copy
import gc
import math
import pickle

import pytest
import torch
from pyro import poutine
from pyro.distributions import Gamma
from pyro.infer import Trace_ELBO
from torch.testing import assert_close

from pyro_exact.diagnostics import diagnose
from pyro_exact.infer import FreeBitsELBO
from pyro_exact.infer.free_bits import by_channel
from pyro_exact.models import ResNetVAE, iaf_vae
from pyro_exact.models.iaf_vae import StochasticLayer
from pyro_exact.nn import MaskedConvNet
from pyro_exact.nn.weight_norm import LEAST, WeightNormed
from pyro_exact.recipes import load_recipe
from pyro_exact.train import evaluate

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


def latents(trace):
    return {name: site["value"] for name, site in trace.nodes.items() if name.startswith("z")}


@pytest.mark.parametrize("flow", [True, False])
def test_iaf_vae_guide_scores_its_draws_as_it_scores_any_latents(flow):
    model, x = small(flow), images()
    guide, joint = model.traces(x)
    copies = {name: z.clone() for name, z in latents(guide).items()}
    assert list(copies) == ["z2", "z1"]
    scored = poutine.trace(poutine.condition(model.infer, data=copies)).get_trace(x)
    scored.compute_log_prob()
    again = poutine.trace(poutine.condition(model.generate, data=copies)).get_trace(x)
    again.compute_log_prob()
    for name in copies:
        assert_close(
            scored.nodes[name]["log_prob"], guide.nodes[name]["log_prob"], rtol=1e-8, atol=1e-8
        )
        assert_close(
            again.nodes[name]["log_prob"], joint.nodes[name]["log_prob"], rtol=1e-8, atol=1e-8
        )
    assert_close(again.nodes["x"]["log_prob"], joint.nodes["x"]["log_prob"], rtol=1e-8, atol=1e-8)


def test_iaf_vae_maps_halve_as_the_ladder_rises():
    model = small(scales=2, depth=2)
    guide, _ = model.traces(images(1))
    assert {name: tuple(z.shape) for name, z in latents(guide).items()} == {
        "z4": (1, 2, 2, 2),
        "z3": (1, 2, 2, 2),
        "z2": (1, 2, 4, 4),
        "z1": (1, 2, 4, 4),
    }


def test_iaf_vae_posteriors_see_the_image_and_the_latents_above():
    model, x = small(), images(1)
    guide, _ = model.traces(x)
    z = {name: value.clone() for name, value in latents(guide).items()}

    def mean(name, x, **changed):
        trace = poutine.trace(poutine.condition(model.infer, data=z | changed)).get_trace(x)
        return trace.nodes[name]["fn"].base_dist.base.loc

    assert not torch.equal(mean("z2", LEVELS - 1 - x), mean("z2", x))
    assert not torch.equal(mean("z1", LEVELS - 1 - x), mean("z1", x))
    assert not torch.equal(mean("z1", x, z2=z["z2"] + 1), mean("z1", x))
    assert torch.equal(mean("z2", x, z1=z["z1"] + 1), mean("z2", x))


def test_iaf_vae_importance_weighted_bound_is_above_the_elbo():
    model, x = small(), images(20)
    elbo, bound = (evaluate(model, x, k=k).nats for k in (1, 50))
    assert bound < elbo - 0.1


def test_iaf_vae_many_samples_at_once_are_those_of_many_rows():
    model, x = small(), images(3)
    torch.manual_seed(3)
    many = model.log_weight(x, 5)
    torch.manual_seed(3)
    assert_close(many, model.log_weight(x.repeat(5, 1, 1, 1)).view(5, 3), rtol=1e-10, atol=1e-10)


def test_iaf_vae_several_particles_have_the_mean_of_their_losses():
    model, x = small(), images(3)
    torch.manual_seed(3)
    loss = Trace_ELBO(5, max_plate_nesting=1, vectorize_particles=True).loss(
        model.model, model.guide, x
    )
    torch.manual_seed(3)
    assert_close(loss, -model.log_weight(x, 5).sum().item() / 5, rtol=1e-10, atol=0)


def test_iaf_vae_weights_average_to_the_same_likelihood_without_the_step():
    """The model is the same for any guide; with few and wide posteriors the estimates have a small error."""
    torch.manual_seed(1)
    model = iaf_vae((1, 2, 2), 4, latent_channels=1, width=2, depth=1)
    with torch.no_grad():
        model.layers[0].up_posterior.magnitude.mul_(0)
    x = torch.randint(4, (3, 1, 2, 2))
    model.initialize(x)
    other = copy.deepcopy(model)
    other.layers[0].flow = None
    with torch.no_grad():
        first, second = (m.log_weight(x, 20_000).exp() for m in (model, other))
    error = (first.var(0) / 20_000 + second.var(0) / 20_000).sqrt()
    assert ((first.mean(0) - second.mean(0)).abs() < 5 * error).all()


@pytest.fixture
def looks(monkeypatch):
    """Which layers have looked at the way down."""
    found, look = [], StochasticLayer.down_features
    monkeypatch.setattr(
        StochasticLayer, "down_features", lambda layer, h: found.append(layer) or look(layer, h)
    )
    return found


def test_iaf_vae_model_takes_up_the_way_of_its_guide(looks):
    model = small(scales=1, depth=3)
    model.log_weight(images())
    assert len(looks) == 3 + 1  # and the top, which depends on no latents
    model.log_weight(images(), 4)
    assert len(looks) == 2 * (3 + 1)


def test_iaf_vae_cache_has_the_gradients_of_what_is_computed(monkeypatch):
    model, x = small(scales=1, depth=3), images()
    found = []
    for find in (type(model._cache).find, lambda *_: None):
        monkeypatch.setattr(type(model._cache), "find", find)
        torch.manual_seed(3)
        weight = model.log_weight(x).sum()
        found.append((weight, *torch.autograd.grad(weight, list(model.parameters()))))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def stepped(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()


CHANGES = {
    "a step": lambda model, z: stepped(model),
    "a write": lambda model, z: model.layers[0].down_statistics.bias.detach().add_(1),
    "other weights": lambda model, z: model.load_state_dict(small(scales=1, depth=3).state_dict()),
    "other latents above": lambda model, z: z.update(z2=z["z2"] + 1),
    "a write to latents": lambda model, z: z["z2"].detach().add_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_iaf_vae_cache_keeps_nothing_stale(change):
    model, x = small(scales=1, depth=3), images()
    guide, _ = model.traces(x)
    z = latents(guide)
    change(model, z)

    def score(z):
        trace = poutine.trace(poutine.condition(model.generate, data=z)).get_trace(x)
        return trace.log_prob_sum()

    assert score(z) == score({name: value.clone() for name, value in z.items()})


def test_iaf_vae_cache_forgets_all_layers_below_new_latents():
    model, x = small(scales=1, depth=5), images()
    z = latents(model.traces(x)[0])
    z["z4"] = z["z4"] + 1

    def score(z):
        trace = poutine.trace(poutine.condition(model.generate, data=z)).get_trace(x)
        return trace.log_prob_sum()

    assert score(z) == score({name: value.clone() for name, value in z.items()})


def test_iaf_vae_cache_without_gradient_does_not_serve_with_one():
    model, x = small(), images()
    with torch.no_grad():
        guide, _ = model.traces(x)
    score = (
        poutine.trace(poutine.condition(model.generate, data=latents(guide)))
        .get_trace(x)
        .log_prob_sum()
    )
    assert torch.autograd.grad(score, model.layers[0].down_statistics.direction)[0].abs().max() > 0


def test_iaf_vae_scores_given_latents_twice():
    model, x = small(), images()
    with torch.no_grad():
        z = latents(model.traces(x)[0])
    for _ in range(2):
        poutine.trace(poutine.condition(model.generate, data=z)).get_trace(
            x
        ).log_prob_sum().backward()


def test_iaf_vae_cache_dies_with_the_latents_and_is_left_behind_by_copies():
    model, x = small(), images()
    guide, joint = model.traces(x)
    assert len(model._cache) == 1
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(other._cache) == 0
        assert other.log_weight(x).shape == (4,)
    del guide, joint
    gc.collect()
    assert len(model._cache) == 0


def test_iaf_vae_cache_holds_one_way_at_a_time():
    model, x = small(scales=1, depth=3), images()
    kept = [model.traces(x) for _ in range(3)]
    assert len(model._cache) == 2
    assert len(kept) == 3


def test_iaf_vae_pixel_is_a_logistic_cut_at_the_levels():
    model = small()
    means, x = torch.randn(5, 8, 8, 3), images(5)
    half = (LEVELS - 1) / 2
    scale = model.log_scale.exp().view(3, 1, 1) * half
    upper, lower = (((x + end) - (means.movedim(-1, 1) + 1) * half) / scale for end in (0.5, -0.5))
    mass = upper.sigmoid().where(x < LEVELS - 1, 1) - lower.sigmoid().where(x > 0, 0)
    assert_close(
        model.likelihood_of(means).log_prob(x), mass.log().sum((1, 2, 3)), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("n", [0, 1, 3])
def test_iaf_vae_samples_are_images_for_any_number(n):
    x = small().sample(n)
    assert x.shape == (n, *SHAPE)
    assert bool(((x >= 0) & (x < LEVELS) & (x == x.floor())).all())


def test_iaf_vae_without_temperature_every_sample_has_the_same_latents(monkeypatch):
    model = small()
    means = []
    monkeypatch.setattr(
        ResNetVAE,
        "likelihood_of",
        lambda self, m, f=ResNetVAE.likelihood_of: means.append(m) or f(self, m),
    )
    model.sample(3, temperature=0.0)
    model.sample(3)
    assert_close(means[0][0], means[0][1], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(means[1][0], means[1][1])


def test_iaf_vae_initialisation_gives_hidden_maps_unit_variance():
    torch.manual_seed(0)
    model, x = iaf_vae(SHAPE, LEVELS, latent_channels=2, width=6, scales=2, depth=2), images(100)
    model.initialize(x)
    seen = {}
    names = {
        layer: name for name, layer in model.named_modules() if isinstance(layer, WeightNormed)
    }
    hooks = [
        layer.register_forward_hook(lambda layer, _, y: seen.update({layer: y})) for layer in names
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    assert set(seen) == set(names)
    constant = {names[layer] for layer, y in seen.items() if y.flatten(0, -2).std(0).max() < LEAST}
    assert constant == {
        f"layers.3.down_{name}" for name in ("statistics", "first", "context")
    }  # of the top itself
    for layer, y in seen.items():
        if names[layer] not in constant:
            flat = y.flatten(
                0, -2
            )  # with other draws of the latents than those of the initialisation
            assert_close(flat.std(0) / layer.gain, torch.ones(flat.shape[1]), rtol=0.3, atol=0)
            assert flat.mean(0).abs().max() < 0.3 * layer.gain


def test_iaf_vae_initialisation_scales_the_pixels_to_their_errors():
    torch.manual_seed(0)
    model, x = iaf_vae(SHAPE, LEVELS, latent_channels=2, width=6, depth=1), images(200)
    model.initialize(x)
    uniform = math.sqrt((LEVELS**2 - 1) / 12) * 2 / (LEVELS - 1)  # what is not explained yet
    std = model.log_scale.exp() * math.pi / math.sqrt(3)
    assert_close(std, torch.full((3,), uniform), rtol=0.05, atol=0)


def test_iaf_vae_channels_sum_to_the_log_density():
    model, x = small(), images()
    guide, joint = model.traces(x, 3)
    for trace in (guide, joint):
        for name in ("z1", "z2"):
            site = trace.nodes[name]
            parts = by_channel(site["fn"], site["value"])
            assert parts.shape == (3, 4, 2)
            assert_close(parts.sum(-1), site["log_prob"], rtol=1e-10, atol=1e-10)


def test_diagnose_tells_the_layers_of_an_iaf_vae_apart():
    model, x = small(), images(5)
    found = diagnose(model, x, samples=100)
    assert {name: level.activity.shape for name, level in found.levels.items()} == {
        "z2": (2, 2, 2),
        "z1": (2, 4, 4),
    }
    assert all(level.kl_by_unit is None for level in found.levels.values())
    assert math.isfinite(found.mutual_information)
    normal = diagnose(small(flow=False), x, samples=100)
    assert normal.levels["z1"].kl_by_unit.shape == (2, 4, 4)


def test_iaf_vae_under_autocast_keeps_latents_and_weights_in_full_precision():
    torch.set_default_dtype(torch.float32)
    model, x = small(), images()
    with torch.autocast("cpu", torch.bfloat16):
        guide, joint = model.traces(x)
        assert model(x).dtype == torch.float32
    assert all(z.dtype == torch.float32 for z in latents(guide).values())
    assert all(
        site["log_prob"].dtype == torch.float32
        for name, site in joint.nodes.items()
        if name[0] in "zx"
    )


def test_iaf_vae_recipe_has_the_settings_of_the_paper():
    recipe = load_recipe("iaf_vae_cifar10").filled()
    assert recipe.paper.value == 3.11
    assert {
        key: recipe.model[key] for key in ("latent_channels", "width", "scales", "depth", "flow")
    } == {
        "latent_channels": 32,
        "width": 160,
        "scales": 1,
        "depth": 20,
        "flow": True,
    }
    assert (recipe.training.optimizer, recipe.training.learning_rate) == ("adamax", 2e-3)
    assert (recipe.training.elbo.free_nats, recipe.training.elbo.per) == (0.1, "channel")


@pytest.mark.gpu
def test_iaf_vae_moves_to_a_gpu():
    model, x = small().cuda(), images().cuda()
    model.initialize(x)
    assert model.log_weight(x, 2).is_cuda
    assert model.sample(2).is_cuda


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: iaf_vae((3, 6, 8), 16, 2, 4, scales=2, depth=1),
            r"that 4 divides; got 2 layers and shape \(3, 6, 8\)",
        ),
        (
            lambda: iaf_vae((3, 8, 7), 16, 2, 4, depth=1),
            r"that 2 divides; got 1 layers and shape \(3, 8, 7\)",
        ),
        (lambda: ResNetVAE(SHAPE, LEVELS, [], 4), "expects a layer or more"),
        (lambda: iaf_vae(SHAPE, 1, 2, 4), r"expects levels from 2 to \d+; got 1"),
        (
            lambda: iaf_vae(SHAPE, LEVELS, latent_channels=5, width=4),
            r"expects width from 5 to \d+; got 4",
        ),
        (lambda: iaf_vae(SHAPE, LEVELS, 2, 4, scales=0), r"expects scales from 1 to \d+; got 0"),
        (lambda: iaf_vae(SHAPE, LEVELS, 2, 4, depth=0), r"expects depth from 1 to \d+; got 0"),
        (lambda: MaskedConvNet(4, 2, width=3), r"expects width from 4 to \d+; got 3"),
        (
            lambda: MaskedConvNet(2, 2, width=3, depth=0),
            r"expects depth from 1 to \d+; got 0",
        ),
        (lambda: small().model(images(0)), r"N of at least 1; got \(0, 3, 8, 8\)"),
        (
            lambda: small().model(images()[:, :1]),
            r"expects x of shape \(N, 3, 8, 8\); got \(4, 1, 8, 8\)",
        ),
        (lambda: small().guide(images() + LEVELS), "expects integers 0, ..., 15; got"),
        (
            lambda: small().sample(1, temperature=-1.0),
            r"expects temperature as a finite number that is at least 0; got -1\.0",
        ),
        (lambda: FreeBitsELBO(1.0, per="level"), "per 'site' or 'channel'; got 'level'"),
        (
            lambda: by_channel(Gamma(torch.ones(3), 1.0), torch.ones(3)),
            "made by to_event.*Use per='site'",
        ),
        (
            lambda: load_recipe("iaf_vae_cifar10").changed({}, {"elbo": {"per": "level"}}),
            "per expects",
        ),
    ],
)
def test_iaf_vae_refuses_what_does_not_fit(act, message):
    with pytest.raises(ValueError, match=message):
        act()
