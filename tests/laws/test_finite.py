"""Non-finite values never become finite: errors of samples and codes name the non-finite weights."""

import math

import pytest
import torch
from registry import LIKELIHOODS, MODELS, NETS

from pyro_exact.autoregressive import NADE, Autoregressive, ConvNADE, DeepNADE, GatedPixelCNN
from pyro_exact.distributions import (
    Flow,
    FlowDequantizer,
    IndependentSites,
    StandardNormal,
    Subset,
    UniformDequantizer,
)
from pyro_exact.flows import flow_pp_dequantizer, glow, real_nvp
from pyro_exact.likelihoods import CategoricalLikelihood, GaussianLikelihood
from pyro_exact.models import Dequantized
from pyro_exact.nn.finite import check_output
from pyro_exact.transforms import BatchNorm


def spoiled(module):
    """The module with one weight that is NaN in its last layer but one, and the name of that weight."""
    name, weight = [(n, p) for n, p in module.named_parameters() if p.numel()][-2]
    with torch.no_grad():
        weight.view(-1)[:] = math.nan
    return module, name


@pytest.mark.parametrize("name", NETS)
def test_causal_nets_with_nan_draw_no_sample(name):
    net, weight = spoiled(NETS[name]())
    context = None if net.context_shape is None else torch.zeros(net.context_shape)
    layer, _, parameter = weight.rpartition(".")
    with pytest.raises(
        ValueError,
        match=rf"expects finite weights; got NaN in {parameter} of {layer or 'the model'} ",
    ):
        Autoregressive(net, context).sample((3,))


def able(call):
    """The result of a method, or None where a model says that it has no such method."""
    try:
        return call()
    except ValueError as error:
        if "has no such method" not in str(error):
            raise
        return None


@pytest.mark.parametrize("name", MODELS)
def test_models_with_nan_draw_encode_and_decode_nothing(name):
    case = MODELS[name]
    model, x = case.make(), case.data()[:3]
    code = able(lambda: model.encode(x))
    images = able(lambda: model.reconstruct(x))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)

    doors = [lambda: model.sample(3)]
    if code is not None:
        doors += [lambda: model.encode(x), lambda: model.decode(code)]
    if images is not None:
        doors += [lambda: model.reconstruct(x)]
    for door in doors:
        with pytest.raises(
            ValueError, match=r"finite(?: weights)?; got|values that satisfy|satisfy the constraint"
        ):
            door()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_draw_nan_from_nan(name):
    likelihood = LIKELIHOODS[name]()
    theta = torch.randn(5, likelihood.num_params)
    theta[2, 0] = math.nan
    noise = torch.rand(5, likelihood.num_noise)
    finite = likelihood.draw(theta, noise).view(5, -1).isfinite()
    assert finite[[0, 1, 3, 4]].all()
    assert not finite[2].all()


def test_decoders_with_nan_draw_nothing():
    theta = torch.tensor([[0.0], [math.nan]])
    with pytest.raises(
        ValueError, match=r"got 1 of 2 elements NaN\. Check the network that computes theta"
    ):
        IndependentSites(theta, LIKELIHOODS["BernoulliLikelihood"](), grid_dim=1).sample()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_likelihood_of_any_width_has_a_density_at_its_mean(dtype):
    theta = torch.tensor([[1.0, -100.0], [1.0, -400.0]], dtype=dtype, requires_grad=True)
    log_p = GaussianLikelihood().log_prob(theta, torch.ones(2, dtype=dtype))
    assert log_p.isfinite().all()
    assert torch.autograd.grad(log_p.sum(), theta)[0].isfinite().all()


def infinite(net, name):
    with torch.no_grad():
        net.get_parameter(name).fill_(math.inf)
    return net


def test_causal_nets_with_infinite_weights_draw_no_sample():
    observed, mask = torch.zeros(2, 4), torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]])
    doors = [
        lambda: Autoregressive(infinite(NADE(4, width=3), "c")).sample(),
        lambda: Autoregressive(
            infinite(ConvNADE((1, 4, 4), 2, [2], hidden_dims=(3, 3)), "companion.b")
        ).sample(),
        lambda: (
            infinite(DeepNADE(4, hidden_dims=(3, 3)), "b").condition_on(observed, mask).sample()
        ),
        lambda: (
            infinite(DeepNADE(4, hidden_dims=(3, 3)), "b")
            .condition_on(observed[0], mask[0])
            .sample()
        ),
    ]
    for door in doors:
        with pytest.raises(
            ValueError, match=r"sample expects finite weights; got infinite elements in [bc] of"
        ):
            door()


def test_advice_names_a_buffer():
    layer = BatchNorm(2)
    layer.running_mean.fill_(math.nan)
    with pytest.raises(
        ValueError, match=r"not finite are NaN in running_mean of the model \(BatchNorm\)"
    ):
        check_output("it", "the sample", torch.tensor(math.nan), layer)


def test_contexts_are_finite():
    flow = Flow(StandardNormal(2), real_nvp(2, context_dim=2))
    net, nan = (
        GatedPixelCNN((1, 4, 4), levels=2, width=2, depth=1, context_shape=2),
        torch.full((2,), math.nan),
    )
    for door in (lambda: flow.condition(nan), lambda: Autoregressive(net, nan)):
        with pytest.raises(
            ValueError, match=r"expects context to be finite; got 2 of 2 elements NaN"
        ):
            door()
    Autoregressive(net, nan, validate_args=False)


def test_scores_of_nan_are_nan():
    x = torch.zeros(2, 1, 4, 4)
    value = x + 0.5
    value[1, 0, 0, 0] = math.nan
    for d in (
        FlowDequantizer(flow_pp_dequantizer((1, 4, 4), width=4, depth=1, components=2))(x),
        UniformDequantizer(x),
    ):
        assert d.log_prob(value).isnan().tolist() == [False, True]
    assert Subset((2,)).log_prob(torch.tensor([1.0, math.nan])).isnan()
    assert CategoricalLikelihood(2).log_prob(torch.zeros(1, 2), torch.tensor([math.nan])).isnan()


def test_values_that_are_no_level_have_no_probability():
    net = GatedPixelCNN((1, 4, 4), levels=4, width=2, depth=1)
    d, x = Autoregressive(net, validate_args=False), torch.zeros(1, 4, 4)
    assert d.log_prob(x).isfinite()
    for change in (9, -1, 0.5):
        assert d.log_prob(x + change) == -math.inf


def test_initialize_refuses_nan_weights():
    flow = Flow(StandardNormal(16), glow((1, 4, 4), levels=4, scales=1, steps=1, width=2).inv)
    model, _ = spoiled(Dequantized(flow, levels=4))
    with pytest.raises(ValueError, match=r"Dequantized.initialize expects the noise to be finite"):
        model.initialize(torch.randint(4, (3, 1, 4, 4)))


def test_models_with_infinite_weights_draw_nothing():
    model = MODELS["VAE"].make()
    with torch.no_grad():
        next(model.parameters()).fill_(math.inf)
    with pytest.raises(
        ValueError, match=r"VAE.sample expects finite weights; got infinite elements"
    ):
        model.sample(2)
