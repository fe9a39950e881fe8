"""Small variational autoencoders, one of them linear with a likelihood in closed form."""

import math

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from pyro_exact.distributions import FlowPosterior, StandardNormal
from pyro_exact.likelihoods import BernoulliLikelihood, GaussianLikelihood
from pyro_exact.models import VAE
from pyro_exact.nn import DenseDecoder, DenseEncoder


def perturb(module, std=0.3):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def small(flow=None, features=6, dim=2, shape=(1, 4, 4)):
    """A VAE of binary images, with weights away from their start."""
    encoder, decoder = DenseEncoder(shape, (features,)), DenseDecoder(dim, shape, hidden_dims=(5,))
    posterior = FlowPosterior(features, dim, flow)
    return perturb(VAE(encoder, decoder, posterior, StandardNormal(dim), BernoulliLikelihood()))


def bits(n=5, shape=(1, 4, 4)):
    return torch.randint(2, (n, *shape)).to(torch.get_default_dtype())


class LinearDecoder(nn.Module):
    """Means W z + b with noise of a standard deviation of 0.5."""

    def __init__(self, latents, dim):
        super().__init__()
        self.mean = nn.Linear(latents, dim)

    def forward(self, z):
        mean = self.mean(z)
        return torch.stack((mean, torch.full_like(mean, math.log(0.5))), dim=-1)


def linear(flow=None, latents=2, dim=3):
    model = VAE(
        nn.Identity(), LinearDecoder(latents, dim), FlowPosterior(dim, latents, flow), StandardNormal(latents),
        GaussianLikelihood(),
    )  # fmt: skip
    nn.init.normal_(model.decoder.mean.weight)
    return model


def marginal(model):
    """p(x) of a linear Gaussian model."""
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    return MultivariateNormal(bias, weight @ weight.T + 0.25 * torch.eye(len(bias)))


def use_exact_posterior(model):
    """Set the guide to the mean of the exact posterior and the variances of the best diagonal normal."""
    weight, bias = model.decoder.mean.weight.detach(), model.decoder.mean.bias.detach()
    precision = torch.eye(weight.shape[1]) + weight.T @ weight / 0.25
    gain = torch.linalg.solve(precision, weight.T / 0.25)
    std = precision.diagonal().rsqrt()
    layer = model.posterior.normal
    with torch.no_grad():
        layer.weight.copy_(torch.cat((gain, torch.zeros_like(gain))))
        layer.bias.copy_(torch.cat((-gain @ bias, std.expm1().log())))
