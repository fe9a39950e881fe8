"""The annealed ELBO."""

import pytest
import torch
from helpers.vaes import bits, small
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.data import Images
from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.recipes import Elbo, Recipe, Training, load_recipe
from pyro_exact.train import fit
from pyro_exact.train.lightning_module import training_elbo

pytestmark = pytest.mark.usefixtures("double")


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
def test_annealed_loss_at_its_end_is_the_elbo_exactly(make):
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
def test_annealed_loss_is_its_formula(kind, beta):
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


def test_annealed_weight_rises_with_each_step_of_svi_and_evaluation_is_the_elbo():
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


def test_annealed_weight_goes_on_in_a_resumed_run(tmp_path):
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
    expected = fit(whole, images, out=tmp_path / "whole", progress=False).model.state_dict()
    fit(half, images, out=tmp_path / "parts", progress=False)
    found = fit(
        whole, images, out=tmp_path / "parts", resume=True, progress=False
    ).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_annealed_loss_is_a_setting_of_a_recipe():
    annealed, free, plain = (
        training_elbo(elbo) for elbo in (Elbo("energy", 0.5, 7), Elbo(free_nats=2.0), Elbo())
    )
    assert isinstance(annealed, AnnealedELBO)
    assert (annealed.anneal, annealed.start, annealed.steps) == ("energy", 0.5, 7)
    assert isinstance(free, FreeBitsELBO)
    assert free.free_nats == 2.0
    assert type(plain) is Trace_ELBO


def test_annealed_loss_leaves_an_exact_model_alone(tmp_path):
    recipe = load_recipe("nade_mnist").changed({}, {"elbo": {"anneal": "kl"}})
    images = Images("bits", *(bits(4, (1, 4, 4)).byte() for _ in range(3)), levels=2)
    with pytest.raises(
        ValueError,
        match=r"training\.elbo is for models with latents; this Density has an exact likelihood",
    ):
        fit(recipe, images, out=tmp_path)
