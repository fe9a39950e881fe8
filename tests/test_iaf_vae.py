"""The IAF-VAE: its masked network, its posterior by number, the way that guide and model share, and free bits."""

import copy
import gc
import math
import pickle
from functools import partial
from itertools import product

import pytest
import torch
from pyro import poutine
from pyro.distributions import Gamma, Normal
from pyro.infer import Trace_ELBO
from torch.testing import assert_close

from pyro_exact.data import Images
from pyro_exact.diagnostics import diagnose
from pyro_exact.distributions import InverseAutoregressive
from pyro_exact.infer import FreeBitsELBO
from pyro_exact.infer.free_bits import by_channel
from pyro_exact.models import ResNetVAE, iaf_vae
from pyro_exact.models.iaf_vae import StochasticLayer
from pyro_exact.nn import MaskedConvNet
from pyro_exact.nn.weight_norm import LEAST, WeightNormed
from pyro_exact.ops.elu import elu
from pyro_exact.recipes import Elbo, Recipe, Training, load_recipe
from pyro_exact.train import evaluate, fit
from pyro_exact.train.elbo import training_elbo
from pyro_exact.transforms import Affine

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


# The activation
# -------------------------------------------------------------------------------------------------------


def test_the_activation_is_that_of_torch_with_its_gradient():
    x = torch.tensor([-1000.0, -3.0, -1e-9, 0.0, 1e-9, 2.0, 1000.0], requires_grad=True)
    expected = torch.nn.functional.elu(x)
    assert_close(elu(x), expected, rtol=1e-8, atol=1e-15)
    found, known = (torch.autograd.grad(y.sum(), x)[0] for y in (elu(x), expected))
    assert_close(found, known, rtol=1e-8, atol=0)


# The masked network
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "width", "layers"), [(1, 1, 1), (2, 5, 2), (3, 3, 3)])
def test_parameters_depend_on_the_numbers_before_and_on_no_other(channels, width, layers):
    net = perturb(MaskedConvNet(channels, 2, width, layers), 0.5)
    x, context = torch.randn(1, channels, 3, 4), torch.randn(1, 3, 4, width)
    before = net(x, context)
    order = list(
        product(range(3), range(4), range(channels))
    )  # row by row, and channel by channel of a pixel
    for i, (row, column, channel) in enumerate(order):
        other = x.clone()
        other[0, channel, row, column] += 1
        changed = (net(other, context) != before).any(-1)[0]
        moved = [bool(changed[c, h, w]) for h, w, c in order]
        assert not any(moved[: i + 1])
        assert any(moved[i + 1 :]) or i == len(order) - 1


def test_the_context_reaches_every_number():
    net = perturb(MaskedConvNet(2, 2, 4), 0.5)
    x, context = torch.randn(2, 2, 3, 4), torch.randn(2, 3, 4, 4)
    assert (net(x, context) != net(x, context + 1)).all()


# The distribution of a map
# --------------------------------------------------------------------------------------------


def step(*batch, channels=2, size=(2, 3)):
    net = perturb(MaskedConvNet(channels, 2, 4), 0.5)
    mean, context = torch.randn(*batch, channels, *size), torch.randn(*batch, *size, 4)
    return InverseAutoregressive(mean, mean.exp(), partial(net, context=context), Affine())


def test_a_draw_is_scored_by_what_drew_it_as_by_its_inverse():
    q, calls = step(5), []
    q.conditioner.func.register_forward_hook(lambda *_: calls.append(1))
    z = q.rsample((3,))
    known = q.log_prob(z)
    assert len(calls) == 1
    assert_close(q.log_prob(z.clone()), known, rtol=1e-10, atol=1e-10)
    assert 2 < len(calls) <= 1 + z[0, 0].numel()


def test_the_log_density_is_the_change_of_variables():
    q = step()
    noise = torch.randn(2, 2, 3)

    def transform(noise):
        return q.formula.forward_and_ladj(noise, q.conditioner(noise))[0]

    jacobian = torch.autograd.functional.jacobian(transform, noise).view(12, 12)
    expected = Normal(q.base.loc, q.base.scale).log_prob(noise).sum() - jacobian.slogdet()[1]
    assert_close(q.to_event(3).log_prob(transform(noise)), expected, rtol=1e-10, atol=1e-10)


def test_the_log_density_of_a_number_is_given_those_before_it():
    q = step()
    z = q.sample()
    before = q.log_prob(z)
    for i, (row, column, channel) in enumerate(
        order := list(product(range(2), range(3), range(2)))
    ):
        other = z.clone()
        other[channel, row, column] += 1
        changed = q.log_prob(other) != before
        assert [bool(changed[c, h, w]) for h, w, c in order[: i + 1]] == [False] * i + [True]


def test_the_density_of_one_number_has_mass_one_given_any_before_it():
    q = step(channels=1, size=(1, 2))
    grid = torch.linspace(-60, 60, 20_001)
    z = torch.stack((torch.full_like(grid, 0.7), grid), dim=-1).view(-1, 1, 1, 2)
    mass = q.log_prob(z)[:, 0, 0, 1].exp().sum() * (grid[1] - grid[0])
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-6)


def test_scores_have_gradients_in_maps_and_parameters():
    q = step()
    z, context = q.sample(), torch.randn(2, 3, 4, requires_grad=True)

    def score(z, mean, context):
        net = q.conditioner.func
        return InverseAutoregressive(
            mean, q.base.scale, partial(net, context=context), q.formula
        ).log_prob(z)

    assert torch.autograd.gradcheck(
        score, (z.requires_grad_(), q.base.loc.clone().requires_grad_(), context)
    )


def test_a_draw_that_was_written_to_is_scored_anew():
    q = step()
    z = q.sample()
    q.log_prob(z)
    z.add_(1)
    assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, context: net.last.bias.data.add_(1).sum() + torch.nn.init.ones_(net.first.bias),
        lambda net, context: net.load_state_dict(
            {name: 2 * p for name, p in net.state_dict().items()}
        ),
        lambda net, context: context.add_(1),
    ],
    ids=["written to", "loaded", "another context"],
)
def test_a_draw_is_scored_anew_once_what_it_depends_on_has_changed(change):
    q = step(5)
    with torch.no_grad():
        z = q.sample()
        before = q.log_prob(z)
        change(q.conditioner.func, q.conditioner.keywords["context"])
        after = q.log_prob(z)
    assert_close(after, q.log_prob(z.clone()), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(after, before)


def test_a_draw_of_a_conditioner_that_hides_its_weights_is_scored_anew():
    known, scale = step(5), torch.ones(())
    net = known.conditioner
    q = InverseAutoregressive(
        known.base.loc, known.base.scale, lambda noise: scale * net(noise), known.formula
    )
    with torch.no_grad():
        z = q.sample()
        scale.mul_(2)
        assert torch.equal(q.log_prob(z), q.log_prob(z.clone()))


def test_a_draw_without_gradient_is_scored_with_one():
    net = perturb(MaskedConvNet(2, 2, 4), 0.5)
    q = InverseAutoregressive(
        torch.zeros(2, 2, 3),
        torch.ones(2, 2, 3),
        partial(net, context=torch.zeros(2, 3, 4)),
        Affine(),
    )
    q.log_prob(q.sample()).sum().backward()
    assert net.last.bias.grad.abs().max() > 0


# The guide
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [True, False])
def test_the_guide_scores_its_draws_as_it_scores_any_latents(flow):
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


def test_the_maps_halve_as_the_ladder_rises():
    model = small(scales=2, depth=2)
    guide, _ = model.traces(images(1))
    assert {name: tuple(z.shape) for name, z in latents(guide).items()} == {
        "z4": (1, 2, 2, 2),
        "z3": (1, 2, 2, 2),
        "z2": (1, 2, 4, 4),
        "z1": (1, 2, 4, 4),
    }


def test_every_posterior_sees_the_image_and_the_latents_above():
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


def test_the_importance_weighted_bound_is_above_the_elbo():
    model, x = small(), images(20)
    elbo, bound = (evaluate(model, x, k=k).nats for k in (1, 50))
    assert bound < elbo - 0.1


def test_many_samples_at_once_are_those_of_many_rows():
    model, x = small(), images(3)
    torch.manual_seed(3)
    many = model.log_weight(x, 5)
    torch.manual_seed(3)
    assert_close(many, model.log_weight(x.repeat(5, 1, 1, 1)).view(5, 3), rtol=1e-10, atol=1e-10)


def test_several_particles_have_the_mean_of_their_losses():
    model, x = small(), images(3)
    torch.manual_seed(3)
    loss = Trace_ELBO(5, max_plate_nesting=1, vectorize_particles=True).loss(
        model.model, model.guide, x
    )
    torch.manual_seed(3)
    assert_close(loss, -model.log_weight(x, 5).sum().item() / 5, rtol=1e-10, atol=0)


def test_weights_average_to_the_same_likelihood_with_the_step_and_without():
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


# The way down, which model and guide share
# ----------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch):
    """Which layers have looked at the way down."""
    found, look = [], StochasticLayer.down_features
    monkeypatch.setattr(
        StochasticLayer, "down_features", lambda layer, h: found.append(layer) or look(layer, h)
    )
    return found


def test_the_model_takes_up_the_way_of_its_guide(looks):
    model = small(scales=1, depth=3)
    model.log_weight(images())
    assert len(looks) == 3 + 1  # and the top, which depends on no latents
    model.log_weight(images(), 4)
    assert len(looks) == 2 * (3 + 1)


def test_what_is_remembered_has_the_gradients_of_what_is_not(monkeypatch):
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
def test_nothing_stale_is_remembered(change):
    model, x = small(scales=1, depth=3), images()
    guide, _ = model.traces(x)
    z = latents(guide)
    change(model, z)

    def score(z):
        trace = poutine.trace(poutine.condition(model.generate, data=z)).get_trace(x)
        return trace.log_prob_sum()

    assert score(z) == score({name: value.clone() for name, value in z.items()})


def test_what_was_computed_without_gradient_is_not_found_with_one():
    model, x = small(), images()
    with torch.no_grad():
        guide, _ = model.traces(x)
    score = (
        poutine.trace(poutine.condition(model.generate, data=latents(guide)))
        .get_trace(x)
        .log_prob_sum()
    )
    assert torch.autograd.grad(score, model.layers[0].down_statistics.direction)[0].abs().max() > 0


def test_given_latents_may_be_scored_twice():
    model, x = small(), images()
    with torch.no_grad():
        z = latents(model.traces(x)[0])
    for _ in range(2):
        poutine.trace(poutine.condition(model.generate, data=z)).get_trace(
            x
        ).log_prob_sum().backward()


def test_memory_dies_with_the_latents_and_is_left_behind_by_copies():
    model, x = small(), images()
    guide, joint = model.traces(x)
    assert len(model._cache) == 1
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(other._cache) == 0
        assert other.log_weight(x).shape == (4,)
    del guide, joint
    gc.collect()
    assert len(model._cache) == 0


def test_one_way_is_remembered_at_a_time():
    model, x = small(scales=1, depth=3), images()
    kept = [model.traces(x) for _ in range(3)]
    assert len(model._cache) == 2
    assert len(kept) == 3


# Pixels, samples, initialisation
# --------------------------------------------------------------------------------------


def test_a_pixel_is_a_logistic_cut_at_the_levels():
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
def test_samples_are_images_for_any_number(n):
    x = small().sample(n)
    assert x.shape == (n, *SHAPE)
    assert bool(((x >= 0) & (x < LEVELS) & (x == x.floor())).all())


def test_without_temperature_every_sample_has_the_same_latents(monkeypatch):
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


def test_after_initialisation_hidden_maps_have_unit_variance():
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


def test_initialisation_sets_the_scale_of_the_pixels_to_that_of_their_errors():
    torch.manual_seed(0)
    model, x = iaf_vae(SHAPE, LEVELS, latent_channels=2, width=6, depth=1), images(200)
    model.initialize(x)
    uniform = math.sqrt((LEVELS**2 - 1) / 12) * 2 / (LEVELS - 1)  # what is not explained yet
    std = model.log_scale.exp() * math.pi / math.sqrt(3)
    assert_close(std, torch.full((3,), uniform), rtol=0.05, atol=0)


# Free bits
# ------------------------------------------------------------------------------------------------------------


def loss_and_gradients(elbo, model, x):
    torch.manual_seed(3)
    loss = elbo.differentiable_loss(model.model, model.guide, x)
    return loss, torch.autograd.grad(loss, list(model.parameters()))


def test_the_parts_of_the_channels_sum_to_the_log_density():
    model, x = small(), images()
    guide, joint = model.traces(x, 3)
    for trace in (guide, joint):
        for name in ("z1", "z2"):
            site = trace.nodes[name]
            parts = by_channel(site["fn"], site["value"])
            assert parts.shape == (3, 4, 2)
            assert_close(parts.sum(-1), site["log_prob"], rtol=1e-10, atol=1e-10)


def test_without_free_bits_the_loss_is_the_elbo_exactly():
    model, x = small(), images()
    found = [
        loss_and_gradients(elbo, model, x)
        for elbo in (Trace_ELBO(), FreeBitsELBO(0.0, per="channel"))
    ]
    assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize("per", ["site", "channel"])
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("free_nats", [0.5, 2.0, 1e4])
def test_the_loss_with_free_bits_is_its_formula(per, particles, free_nats):
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


def test_free_bits_of_vectors_are_those_of_their_numbers():
    d, z = Normal(torch.zeros(4, 3), 2.0).to_event(1), torch.randn(4, 3)
    assert_close(by_channel(d, z), d.base_dist.log_prob(z))


def test_a_recipe_asks_for_free_bits_of_channels():
    elbo = training_elbo(Elbo(free_nats=0.1, per="channel"))
    assert isinstance(elbo, FreeBitsELBO)
    assert (elbo.free_nats, elbo.per) == (0.1, "channel")


# Training and diagnosis
# -----------------------------------------------------------------------------------------------


def test_fit_trains_it_with_free_bits(tmp_path):
    torch.set_default_dtype(torch.float32)
    splits = [torch.randint(LEVELS, (n, *SHAPE), dtype=torch.uint8) for n in (20, 4, 4)]
    training = Training(
        steps=3, batch_size=4, elbo=Elbo(free_nats=0.1, per="channel"), ema_decay=0.9
    )
    settings = {"name": "iaf_vae", "latent_channels": 2, "width": 4, "depth": 2}
    model = fit(
        Recipe("toy", settings, "toy", training),
        Images("toy", *splits, levels=LEVELS),
        tmp_path,
        progress=False,
    )
    assert evaluate(model, splits[2]).bits_per_dim < 10


def test_diagnose_tells_the_layers_apart():
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


def test_under_autocast_latents_and_weights_stay_in_full_precision():
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


def test_the_recipe_of_the_paper_has_its_settings():
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
def test_it_moves_to_a_gpu():
    model, x = small().cuda(), images().cuda()
    model.initialize(x)
    assert model.log_weight(x, 2).is_cuda
    assert model.sample(2).is_cuda


# What does not fit
# ----------------------------------------------------------------------------------------------------


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
def test_what_does_not_fit_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
