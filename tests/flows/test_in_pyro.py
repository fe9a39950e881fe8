"""Flows where a Pyro user puts them: guides, observed sites, plates, handlers, predictions, reparametrised models."""

from functools import partial

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import (
    ConditionalTransformedDistribution,
    LogNormal,
    Normal,
    TransformedDistribution,
    constraints,
)
from pyro.distributions import transforms as stock
from pyro.infer import MCMC, NUTS, SVI, JitTrace_ELBO, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormalizingFlow
from pyro.infer.inspect import get_model_relations
from pyro.infer.reparam import NeuTraReparam
from registry import MODELS
from torch import nn
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.transforms import (
    ActNorm,
    Compose,
    Householder,
    LinearLU,
    Permute,
    Planar,
    Radial,
    Sylvester,
)

pytestmark = pytest.mark.usefixtures("double")

DIM, ROWS, CONTEXT_DIM = 3, 5, 2

FLOWS = {  # (dim, context_dim) -> from noise to data
    "planar": lambda dim, c=None: flows.planar(dim, 4, c),
    "radial": lambda dim, c=None: flows.radial(dim, 4, c),
    "sylvester": lambda dim, c=None: flows.sylvester(dim, 2, 2, context_dim=c),
    "iaf": lambda dim, c=None: flows.iaf(dim, 2, (8,), c),
    "maf": lambda dim, c=None: flows.maf(dim, 2, (8,), c).inv,
    "real_nvp": lambda dim, c=None: flows.real_nvp(dim, 2, (8,), c).inv,
    "spline_coupling": lambda dim, c=None: flows.spline_coupling(
        dim, 2, hidden_dims=(8,), context_dim=c
    ),
    "linear": lambda dim, c=None: Compose(
        [Householder(dim, 2, c), LinearLU(dim, c), ActNorm(dim, context_dim=c)]
    ),
}

every_flow = pytest.mark.parametrize("make", FLOWS.values(), ids=list(FLOWS))

both = pytest.mark.parametrize("context_dim", [None, CONTEXT_DIM], ids=["plain", "context"])


def perturb(module, std=0.2):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def elbo(model, guide, *arguments, particles=300):
    """The evidence lower bound, over many particles at once."""
    with torch.no_grad():
        bound = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        return -bound.loss(model, guide, *arguments)


def train(model, guide, *arguments, steps=100, lr=0.03):
    """Stock SVI; return by how much the evidence lower bound has risen."""
    guide(*arguments)  # an automatic guide makes its flow now
    before = elbo(model, guide, *arguments)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": lr}), Trace_ELBO())
    for _ in range(steps):
        svi.step(*arguments)
    return elbo(model, guide, *arguments) - before


def regression(y=None):
    """A line through four points; slope, offset and noise depend on each other in the posterior."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    slope, offset = (
        pyro.sample(name, Normal(torch.zeros(()), 1.0)) for name in ("slope", "offset")
    )
    noise = pyro.sample("noise", LogNormal(torch.tensor(-1.0), 0.5))
    with pyro.plate("points", 4):
        return pyro.sample("y", Normal(slope * x + offset, noise), obs=y)


Y = torch.tensor([1.1, 1.9, 3.2, 3.9])


@every_flow
def test_flows_serve_as_automatic_guides(make):
    guide = AutoNormalizingFlow(regression, make)
    assert train(regression, guide, Y) > 50
    assert isinstance(guide.transform, nn.Module)
    assert all(p in set(guide.parameters()) for p in guide.transform.parameters())

    draws = Predictive(regression, guide=guide, num_samples=20)()
    assert draws["y"].shape == (20, 4)
    assert draws["noise"].min() > 0
    posterior = guide.get_posterior()
    z = posterior.sample((6,))
    assert posterior.log_prob(z).shape == (6,)


@pytest.mark.parametrize(
    "layer", [Sylvester, Householder, Planar, Radial, LinearLU, ActNorm, flows.maf, flows.iaf]
)
def test_auto_guide_makes_a_layer_from_the_dimension_alone(layer):
    guide = AutoNormalizingFlow(regression, layer)
    guide(Y)
    assert guide.get_posterior().sample().shape == (DIM,)


def test_auto_guide_follows_the_precision_of_its_flow():
    torch.set_default_dtype(torch.float32)
    guide = AutoNormalizingFlow(regression, lambda dim: flows.planar(dim, 2).double())
    guide(Y)
    assert (
        guide.get_base_dist().sample().dtype
        == guide.get_posterior().sample().dtype
        == torch.float64
    )


@pytest.mark.parametrize("name", ["planar", "iaf", "real_nvp"])
def test_flows_serve_reparametrised_models(name):
    guide = AutoNormalizingFlow(regression, FLOWS[name])
    train(regression, guide, Y, steps=20)
    guide.requires_grad_(False)
    neutra = NeuTraReparam(guide)
    sampler = MCMC(
        NUTS(neutra.reparam(regression), max_tree_depth=2), 5, warmup_steps=5, disable_progbar=True
    )
    sampler.run(Y)
    (latent,) = sampler.get_samples().values()
    draws = neutra.transform_sample(latent)
    assert draws["noise"].shape == (5,)
    assert draws["noise"].min() > 0


class Amortised(nn.Module):
    """A latent vector a row; the guide is one conditional flow for all rows."""

    def __init__(self, make):
        super().__init__()
        self.encoder = nn.Linear(2, CONTEXT_DIM)
        self.flow = Flow(StandardNormal(DIM), make(DIM, CONTEXT_DIM))

    def model(self, x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample("x", Normal(z[..., :2] + z[..., 2:].tanh(), 0.3).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("guide", self)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", self.flow.condition(self.encoder(x)))


@every_flow
def test_flows_serve_as_amortised_guides_with_vectorised_particles(make):
    x = torch.randn(20, 2) + 1
    amortised = Amortised(make)
    before = amortised.encoder.weight.clone()
    assert train(amortised.model, amortised.guide, x) > 300
    assert not torch.allclose(amortised.encoder.weight, before)
    trace = poutine.trace(amortised.guide).get_trace(x)
    assert trace.nodes["z"]["value"].shape == (20, DIM)
    draws = Predictive(amortised.model, guide=amortised.guide, num_samples=6, parallel=True)(x)
    assert draws["z"].shape == (6, 20, DIM)


class Density(nn.Module):
    """Rows that a flow has drawn, with a context a row where there is one."""

    def __init__(self, bijection):
        super().__init__()
        self.flow = Flow(StandardNormal(DIM), bijection)

    def forward(self, context=None, obs=None):
        pyro.module("density", self)
        with pyro.plate("rows", ROWS):
            return pyro.sample(
                "x", self.flow() if context is None else self.flow.condition(context), obs=obs
            )


def inputs(context_dim):
    return torch.randn(ROWS, DIM), None if context_dim is None else torch.randn(
        ROWS, context_dim, requires_grad=True
    )


def score(bijection, x, context):
    """The change of variables, by the pure methods."""
    z, ladj = bijection.inverse_and_ladj(x, context)
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + ladj


@both
@every_flow
def test_flows_score_observed_rows_with_gradients(make, context_dim):
    bijection = perturb(make(DIM, context_dim))
    model, (x, context) = Density(bijection), inputs(context_dim)
    expected = score(bijection, x, context).sum()
    wanted = [p for p in model.parameters() if p.numel()] + ([] if context is None else [context])
    gradients = torch.autograd.grad(expected, wanted)

    loss = Trace_ELBO(
        num_particles=2, vectorize_particles=True, max_plate_nesting=1
    ).differentiable_loss(model, lambda *_: None, context, x)
    assert_close(loss, -expected)
    assert_close(torch.autograd.grad(loss, wanted), tuple(-g for g in gradients))
    assert all(g.isfinite().all() for g in gradients)
    assert all(g.any() for g in gradients)


@both
@every_flow
def test_flows_take_a_condition_as_an_observation(make, context_dim):
    model, (x, context) = Density(perturb(make(DIM, context_dim))), inputs(context_dim)
    observed = poutine.trace(model).get_trace(context, x)
    conditioned = poutine.trace(poutine.condition(model, {"x": x})).get_trace(context)
    assert_close(conditioned.log_prob_sum(), observed.log_prob_sum())
    assert conditioned.nodes["x"]["is_observed"]
    drawn = poutine.trace(model).get_trace(context)
    replayed = poutine.trace(poutine.replay(model, drawn)).get_trace(context)
    assert torch.equal(replayed.nodes["x"]["value"], drawn.nodes["x"]["value"])
    assert_close(replayed.log_prob_sum(), drawn.log_prob_sum())


@both
@every_flow
def test_flows_give_predictions(make, context_dim):
    model, (_, context) = Density(perturb(make(DIM, context_dim))), inputs(context_dim)
    for parallel in (False, True):
        assert Predictive(model, num_samples=4, parallel=parallel)(context)["x"].shape == (
            4,
            ROWS,
            DIM,
        )
    x = torch.randn(7, ROWS, DIM)
    weights = Predictive(model, posterior_samples={"x": x}, return_sites=("x",))(context)["x"]
    assert torch.equal(weights, x)


def test_flows_train_a_density_by_stock_svi():
    x, context = torch.randn(ROWS, DIM) * 0.3 + 2, torch.randn(ROWS, CONTEXT_DIM)
    assert train(Density(FLOWS["iaf"](DIM, CONTEXT_DIM)), lambda *_: None, context, x) > 30


@both
@every_flow
def test_flows_serve_deterministic_sites(make, context_dim):
    bijection, (_, context) = perturb(make(DIM, context_dim)), inputs(context_dim)

    def model():
        with pyro.plate("rows", ROWS):
            z = pyro.sample("z", Normal(torch.zeros(DIM), 1.0).to_event(1))
            t = bijection if context is None else bijection.condition(context)
            return pyro.deterministic("y", t(z), event_dim=1)

    trace = poutine.trace(model).get_trace()
    z, y = (trace.nodes[name]["value"] for name in ("z", "y"))
    assert_close(y, bijection.forward_and_ladj(z, context)[0])
    assert_close(trace.log_prob_sum(), Normal(0.0, 1.0).log_prob(z).sum())
    draws = Predictive(model, num_samples=4, parallel=True)()
    assert draws["y"].shape == (4, ROWS, DIM)


@every_flow
def test_flows_stand_beside_stock_transforms(make):
    """To the positive numbers and back, through transforms of Pyro and torch."""
    bijection = perturb(make(DIM))
    base = Normal(torch.zeros(DIM), 1.0).to_event(1)
    d = TransformedDistribution(
        base, [stock.Permute(torch.tensor([2, 0, 1])), bijection, stock.ExpTransform()]
    )
    assert d.support.base_constraint is constraints.positive
    x = d.sample((4,))
    z, ladj = bijection.inverse_and_ladj(x.log())
    assert_close(d.log_prob(x), base.log_prob(z) + ladj - x.log().sum(-1))


@every_flow
def test_flows_mix_plain_and_conditional_layers_in_one_list(make):
    conditional, plain = perturb(make(DIM, CONTEXT_DIM)), Permute([1, 2, 0])
    base, context = Normal(torch.zeros(DIM), 1.0).to_event(1), torch.randn(ROWS, CONTEXT_DIM)
    d = ConditionalTransformedDistribution(
        base, [plain, conditional, stock.ExpTransform()]
    ).condition(context)
    assert (d.batch_shape, d.event_shape) == ((ROWS,), (DIM,))
    x = d.rsample((2,))
    expanded = context.expand(2, -1, -1)
    z, ladj = conditional.inverse_and_ladj(x.log(), expanded)
    assert_close(d.log_prob(x), base.log_prob(z) + ladj - x.log().sum(-1))
    d.log_prob(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in conditional.parameters() if p.numel())


@both
@every_flow
def test_flows_change_their_precision_after_construction(make, context_dim):
    torch.set_default_dtype(torch.float32)
    flow = Flow(StandardNormal(DIM), make(DIM, context_dim)).double()
    context = None if context_dim is None else torch.randn(ROWS, context_dim).double()
    d = flow() if context is None else flow.condition(context)
    x = d.sample((ROWS,) if context is None else ())
    assert x.dtype == d.log_prob(x).dtype == torch.float64
    assert {t.dtype for t in flow.state_dict().values() if t.is_floating_point()} == {torch.float64}


@both
@every_flow
def test_flows_take_the_context_of_a_bound_layer_along(make, context_dim):
    torch.set_default_dtype(torch.float32)
    layer = make(DIM, context_dim)
    layer = layer if context_dim is None else layer.condition(torch.randn(ROWS, context_dim))
    assert layer.double()(torch.randn(ROWS, DIM).double()).dtype == torch.float64


@pytest.mark.gpu
@both
@every_flow
def test_flows_move_to_a_gpu_after_construction(make, context_dim):
    flow = Flow(StandardNormal(DIM), perturb(make(DIM, context_dim)))
    x, context = inputs(context_dim)
    expected = (flow() if context is None else flow.condition(context)).log_prob(x)
    flow.cuda()
    d = flow() if context is None else flow.condition(context.detach().cuda())
    assert_close(d.log_prob(x.cuda()).cpu(), expected)
    drawn = d.rsample((2, ROWS) if context is None else (2,))
    assert drawn.is_cuda
    d.log_prob(drawn).sum().backward()
    assert all(p.grad.is_cuda for p in flow.parameters() if p.numel())


@pytest.mark.gpu
def test_auto_guide_on_a_gpu():
    guide = AutoNormalizingFlow(
        partial(on_gpu, regression), lambda dim: flows.planar(dim, 4).cuda()
    )
    assert train(partial(on_gpu, regression), guide, Y.cuda()) > 50


def on_gpu(model, y=None):
    with torch.device("cuda"):
        return model(y)


VECTOR_FLOWS = {
    "maf": lambda: flows.maf(2, 2).inv,
    "nice": lambda: flows.nice(2).inv,
    "planar": lambda: flows.planar(2, 2),
    "real_nvp": lambda: flows.real_nvp(2, 2).inv,
    "spline_coupling": lambda: flows.spline_coupling(2, 2).inv,
}


@pytest.mark.parametrize("name", VECTOR_FLOWS)
def test_flows_keep_the_relations_of_a_model(name):
    flow = Flow(StandardNormal(2), VECTOR_FLOWS[name]())

    def model():
        z = pyro.sample("z", flow())
        pyro.sample("x", Normal(z, 1.0).to_event(1))

    assert get_model_relations(model)["sample_sample"] == {"z": [], "x": ["z"]}


@pytest.mark.parametrize(
    "name", ["Dequantized", "Dequantized logit", "Density gated_pixel_cnn", "VAE planar"]
)
def test_models_keep_the_relations_that_pyro_finds(name):
    case = MODELS[name]
    relations = get_model_relations(case.make().model, (case.data(),))
    assert "x" in relations["sample_sample"]


def test_flows_train_in_a_traced_model():
    case = MODELS["Dequantized"]
    model, x = case.make(), case.data()
    model.initialize(x)
    svi = SVI(
        model.model,
        model.guide,
        pyro.optim.Adam({"lr": 0.01}),
        JitTrace_ELBO(ignore_jit_warnings=True),
    )
    losses = [svi.step(x) for _ in range(20)]
    assert sum(losses[-5:]) < sum(losses[:5])
