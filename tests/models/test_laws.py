"""The laws of every model of the registry."""

import math

import pyro
import pytest
import torch
from helpers.two_pixels import perturb
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO
from pyro.optim import Adam
from registry import MODELS
from torch.testing import assert_close

from pyro_exact import models

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return perturb(case.make(), 0.1)


def elbo(model, x):
    return -Trace_ELBO().loss(model.model, model.guide, x)


def test_models_of_the_package_are_registered():
    assert {name.split()[0] for name in MODELS} == set(models.__all__) - {"GenerativeModel", "Pair"}


def test_models_learn_by_stock_svi(case):
    model, x = case.make(), case.data()
    model.initialize(x)
    svi = SVI(model.model, model.guide, Adam({"lr": 0.01}), Trace_ELBO())
    before = [p.clone() for p in model.parameters()]
    start = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    for _ in range(40):
        svi.step(x)
    end = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    assert end < start - 0.1 * len(x)
    assert all(
        not torch.equal(p, old)
        for p, old in zip(model.parameters(), before, strict=True)
        if p.numel()
    )


def test_models_draw_samples_like_the_data(model, case):
    x = case.data()
    drawn = model.sample(5)
    assert drawn.shape == (5, *x.shape[1:])
    assert drawn.dtype == x.dtype
    assert not drawn.requires_grad
    assert model.log_weight(drawn).isfinite().all()


def test_models_have_log_weights_that_sum_to_the_elbo(model, case):
    x = case.data()
    torch.manual_seed(3)
    weights = model.log_weight(x)
    torch.manual_seed(3)
    assert weights.shape == (len(x),)
    assert_close(weights.sum().item(), elbo(model, x), rtol=1e-10, atol=0)


def test_models_have_log_weights_with_the_gradient_of_the_elbo(model, case):
    x = case.data()
    torch.manual_seed(3)
    loss = Trace_ELBO().differentiable_loss(model.model, model.guide, x)
    expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    torch.manual_seed(3)
    found = torch.autograd.grad(
        -model.log_weight(x).sum(), list(model.parameters()), allow_unused=True
    )
    assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_models_have_a_renyi_bound_of_one_row_that_is_the_log_mean_weight(model, case):
    row = case.data()[:1]
    bound = RenyiELBO(alpha=0, num_particles=6, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(3)
    renyi = -bound.loss(model.model, model.guide, row)
    torch.manual_seed(3)
    weights = model.log_weight(row.expand(6, *row.shape[1:]))
    assert_close(renyi, (weights.logsumexp(0) - math.log(6)).item(), rtol=1e-10, atol=0)


def test_models_score_a_batch_as_the_sum_of_its_rows(model, case):
    x = case.data()[:4]
    guide = poutine.trace(model.guide).get_trace(x)
    latents = {
        name: site["value"]
        for name, site in guide.nodes.items()
        if site["type"] == "sample" and name != "data"
    }

    def log_weight(rows):
        data = {name: value[rows] for name, value in latents.items()}
        traces = [
            poutine.trace(poutine.condition(f, data)).get_trace(x[rows])
            for f in (model.model, model.guide)
        ]
        return traces[0].log_prob_sum() - traces[1].log_prob_sum()

    total = sum(log_weight(slice(i, i + 1)) for i in range(4))
    assert_close(total, log_weight(slice(None)), rtol=1e-10, atol=0)


def test_models_have_the_same_loss_when_reloaded(model, case, tmp_path):
    x = case.data()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = case.make()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    losses = []
    for each in (model, other):
        pyro.clear_param_store()
        torch.manual_seed(3)
        losses.append(elbo(each, x))
    assert losses[0] == losses[1]


def test_models_register_parameters_once_and_under_their_names(model, case):
    poutine.trace(model.model).get_trace(case.data())
    poutine.trace(model.guide).get_trace(case.data())
    modules, names = zip(*(key.split("$$$") for key in pyro.get_param_store()), strict=True)
    assert len(set(modules)) == 1
    assert list(names) == [name for name, _ in model.named_parameters()]


def test_models_serve_predictive(model, case):
    x = case.data()[:4]
    drawn = Predictive(model.generate, num_samples=3)()
    assert drawn["x"].shape == (3, *x.shape[1:])
    latents = Predictive(model.model, guide=model.guide, num_samples=3)(x)
    assert all(value.shape[:2] == (3, 4) for value in latents.values())


def test_models_serve_condition(model, case):
    x = case.data()[:1].to(torch.get_default_dtype())[0]
    conditioned = poutine.condition(model.generate, data={"x": x})
    with poutine.trace() as trace:
        assert torch.equal(conditioned(), x)
    assert trace.trace.nodes["x"]["is_observed"]


def test_models_move_to_another_precision(model, case):
    single, x = model.float(), case.data()
    torch.set_default_dtype(torch.float32)
    x = x.float() if x.is_floating_point() else x
    weights = single.log_weight(x)
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()


DOORS = ["model", "guide", "initialize", "log_weight"]


def test_models_refuse_one_datum_without_a_batch_dimension(case):
    made = case.make()
    for door in DOORS:
        with pytest.raises(ValueError, match=r"expects .*\(N, .*got .*batch"):
            getattr(made, door)(case.data()[0])


SPOILT = {
    "empty": (lambda x: x[:0], ValueError),
    "two batch dimensions": (lambda x: x[None], ValueError),
    "NaN": (lambda x: x.double() * math.nan, ValueError),
    "array": (lambda x: x.numpy(), TypeError),
    "list": (lambda x: x.tolist(), TypeError),
    "None": (lambda x: None, TypeError),
    "complex": (lambda x: x.to(torch.complex64), TypeError),
    "sparse": (lambda x: x.to_sparse(), (TypeError, ValueError)),
}


def test_models_refuse_data_that_are_no_batch_of_numbers(case):
    made = case.make()
    for name, (spoil, error) in SPOILT.items():
        if name == "NaN" and made.sums_out_missing:
            continue
        with pytest.raises(error, match=r"expected .*; got|expects .*; got"):
            made.log_weight(spoil(case.data()))


def test_models_draw_an_integer_count_of_samples(case):
    made = case.make()
    for n in (-1, 2.0, math.nan, "3", None):
        with pytest.raises((TypeError, ValueError), match=r"sample expects n .*; got"):
            made.sample(n)


def test_models_draw_an_empty_batch_of_no_samples(case):
    assert case.make().sample(0).shape == (0, *case.data().shape[1:])


def test_models_cast_floats_to_the_precision_of_their_weights(case):
    model, x = case.make(), case.data()[:4]
    model.initialize(x.float() if x.is_floating_point() else x)
    torch.manual_seed(3)
    expected = model.log_weight(x.float().double())
    torch.manual_seed(3)
    assert torch.equal(model.log_weight(x.float()), expected)
    assert expected.dtype == torch.float64


@pytest.mark.gpu
def test_models_train_on_a_gpu(case):
    torch.set_default_dtype(torch.float32)
    x = case.data().cuda()
    model = case.make().cuda()
    model.initialize(x)
    svi = SVI(model.model, model.guide, Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(x))
    assert model.sample(3).is_cuda
