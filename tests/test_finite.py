"""What is not finite never becomes an ordinary number: samples and codes say which weights are to blame."""

import math

import pytest
import torch
from registry import LIKELIHOODS, MODELS, NETS

from pyro_exact.distributions import Autoregressive, GaussianLikelihood, IndependentSites


def spoiled(module):
    """The module with one weight that is NaN in its last layer but one, and the name of that weight."""
    name, weight = [(n, p) for n, p in module.named_parameters() if p.numel()][-2]
    with torch.no_grad():
        weight.view(-1)[:] = math.nan
    return module, name


@pytest.mark.parametrize("name", NETS)
def test_a_network_with_nan_draws_no_sample(name):
    net, weight = spoiled(NETS[name]())
    context = None if net.context_shape is None else torch.zeros(net.context_shape)
    with pytest.raises(ValueError, match=rf"expects what it draws to be finite; .* not finite are {weight}"):
        Autoregressive(net, context).sample((3,))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_nan_draws_encodes_and_decodes_nothing(name):
    case = MODELS[name]
    model, x = case.make(), case.data()[:3]
    code = model.encode(x) if hasattr(model, "encode") else None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)

    doors = [lambda: model.sample(3)]
    if code is not None:
        doors += [lambda: model.encode(x), lambda: model.decode(code)]
    if hasattr(model, "reconstruct"):
        doors += [lambda: model.reconstruct(x)]
    for door in doors:
        with pytest.raises(ValueError, match=r"to be finite; got|values that satisfy|satisfy the constraint"):
            door()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_draw_from_nan_is_nan(name):
    likelihood = LIKELIHOODS[name]()
    theta = torch.randn(5, likelihood.num_params)
    theta[2, 0] = math.nan
    noise = torch.rand(5, likelihood.num_noise)
    finite = likelihood.draw(theta, noise).view(5, -1).isfinite()
    assert finite[[0, 1, 3, 4]].all()
    assert not finite[2].all()


def test_a_decoder_with_nan_draws_nothing():
    theta = torch.tensor([[0.0], [math.nan]])
    with pytest.raises(ValueError, match=r"got 1 of 2 elements NaN\. Look at theta"):
        IndependentSites(theta, LIKELIHOODS["BernoulliLikelihood"](), grid_dim=1).sample()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gaussian_of_any_width_has_a_density_at_its_mean(dtype):
    theta = torch.tensor([[1.0, -100.0], [1.0, -400.0]], dtype=dtype, requires_grad=True)
    log_p = GaussianLikelihood().log_prob(theta, torch.ones(2, dtype=dtype))
    assert log_p.isfinite().all()
    assert torch.autograd.grad(log_p.sum(), theta)[0].isfinite().all()
