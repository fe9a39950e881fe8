"""Variational autoencoders of images with the networks of two papers, and any of our flows as a posterior."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pyro_exact import flows
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.distributions import FlowPosterior, StandardNormal
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticMixture,
    Likelihood,
)
from pyro_exact.models import VAE
from pyro_exact.nn import DenseDecoder, DenseEncoder, GatedConvDecoder, GatedConvEncoder
from pyro_exact.transforms import Affine, Bijection

FlowName = Literal["planar", "radial", "iaf", "coupling", "spline", "sylvester"]
PixelsName = Literal["bernoulli", "categorical", "logistic"]


def vae(
    shape: tuple[int, int, int],
    levels: int,
    latents: int = 40,
    hidden: int = 400,
    layers: int = 2,
    flow: FlowName | None = None,
    length: int = 4,
    width: int = 320,
    rank: int = 32,
    pixels: PixelsName | None = None,
) -> VAE:
    """Build a VAE with dense networks.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels.
        latents: Dimension of the latent.
        hidden: Width of the hidden layers of both networks.
        layers: Their number.
        flow: What follows the diagonal normal of the posterior, amortised by the encoder; `None`
            for nothing.
        length: Number of layers of the flow.
        width: Hidden units of each layer of "iaf", "coupling" and "spline".
        rank: Hidden units of each layer of "sylvester".
        pixels: Their likelihood: bits, levels that each have a logit, or logistics cut at the
            levels. `None` for bits where there are two levels, and logistics where there are more.
    """
    latents, hidden = check_size("vae", "latents", latents), check_size("vae", "hidden", hidden)
    layers = check_size("vae", "layers", layers, most=LARGEST_COUNT)
    likelihood, grid = _likelihood(pixels, shape, levels)
    encoder = DenseEncoder(shape, [hidden] * layers, levels)
    decoder = DenseDecoder(latents, grid, likelihood.num_params, [hidden] * layers)
    posterior = FlowPosterior(hidden, latents, _flow(flow, latents, length, hidden, width, rank))
    return VAE(encoder, decoder, posterior, StandardNormal(latents), likelihood)


def conv_vae(
    shape: tuple[int, int, int],
    levels: int,
    latents: int = 64,
    channels: int = 32,
    features: int = 256,
    flow: FlowName | None = None,
    length: int = 4,
    width: int = 320,
    rank: int = 32,
    pixels: PixelsName | None = None,
) -> VAE:
    """Build a VAE with gated convolutional networks.

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Number of pixel levels.
        latents: Dimension of the latent.
        channels: Channels of the first convolutions.
        features: What the encoder returns.
        flow: What follows the diagonal normal of the posterior, amortised by the encoder; `None`
            for nothing.
        length: Number of layers of the flow.
        width: Hidden units of each layer of "iaf", "coupling" and "spline".
        rank: Hidden units of each layer of "sylvester".
        pixels: As in `vae`.
    """
    likelihood, grid = _likelihood(pixels, shape, levels)
    encoder = GatedConvEncoder(shape, features, channels, levels)
    channels_out = shape[0] if len(grid) == 3 else 1
    decoder: nn.Module = GatedConvDecoder(
        latents, (channels_out, *shape[1:]), likelihood.num_params, channels
    )
    if len(grid) == 2:  # of whole pixels, whose channels the likelihood has
        decoder = nn.Sequential(decoder, nn.Flatten(-4, -3))
    posterior = FlowPosterior(
        features, latents, _flow(flow, latents, length, features, width, rank)
    )
    return VAE(encoder, decoder, posterior, StandardNormal(latents), likelihood)


def _likelihood(
    name: PixelsName | None, shape: tuple[int, int, int], levels: int
) -> tuple[Likelihood, tuple[int, ...]]:
    """Return the likelihood of a site, and the grid of sites: numbers, or pixels with all their channels."""
    name = name or ("bernoulli" if levels == 2 else "logistic")
    match name:
        case "bernoulli":
            if levels != 2:
                raise ValueError(
                    f"A Bernoulli likelihood expects images of 2 levels, 0 and 1; got {levels}. Use binarized_mnist, "
                    f"binarise the images, or choose another likelihood."
                )
            return BernoulliLikelihood(), shape
        case "categorical":
            return CategoricalLikelihood(levels), shape
        case "logistic":
            return DiscretizedLogisticMixture(shape[0], levels, components=1), shape[1:]


def _flow(
    name: FlowName | None, dim: int, length: int, context_dim: int, width: int, rank: int
) -> Bijection | None:
    match name:
        case None:
            return None
        case "planar":
            return flows.planar(dim, length, context_dim)
        case "radial":
            return flows.radial(dim, length, context_dim)
        case "iaf":
            return flows.iaf(dim, length, (width,), context_dim, Affine(shift_first=True))
        case "coupling":
            return flows.real_nvp(dim, length, (width,), context_dim, act_norm=False)
        case "spline":
            return flows.spline_coupling(
                dim, length, hidden_dims=(width,), context_dim=context_dim, act_norm=False
            )
        case "sylvester":
            return flows.sylvester(dim, length, rank, context_dim=context_dim)
