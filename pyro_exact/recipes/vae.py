"""Variational autoencoders of binary images with the networks of two papers, and any of our flows as a posterior."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pyro_exact import flows
from pyro_exact.distributions import BernoulliLikelihood, FlowPosterior, StandardNormal
from pyro_exact.models import VAE
from pyro_exact.nn import DenseDecoder, DenseEncoder, GatedConvDecoder, GatedConvEncoder
from pyro_exact.transforms import Bijection

FlowName = Literal["planar", "radial", "iaf", "spline", "sylvester"]


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
) -> VAE:
    """Build a VAE with dense networks.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels, which has to be 2.
        latents: Dimension of the latent.
        hidden: Width of the hidden layers of both networks.
        layers: Their number.
        flow: What follows the diagonal normal of the posterior, amortised by the encoder; `None` for nothing.
        length: Number of layers of the flow.
        width: Hidden units of each layer of "iaf" and "spline".
        rank: Hidden units of each layer of "sylvester".
    """
    encoder = DenseEncoder(shape, [hidden] * layers, levels)
    decoder = DenseDecoder(latents, shape, hidden_dims=[hidden] * layers)
    return _bernoulli(encoder, decoder, levels, latents, _flow(flow, latents, length, hidden, width, rank), hidden)


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
) -> VAE:
    """Build a VAE with gated convolutional networks.

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Number of pixel levels, which has to be 2.
        latents: Dimension of the latent.
        channels: Channels of the first convolutions.
        features: What the encoder returns.
        flow: What follows the diagonal normal of the posterior, amortised by the encoder; `None` for nothing.
        length: Number of layers of the flow.
        width: Hidden units of each layer of "iaf" and "spline".
        rank: Hidden units of each layer of "sylvester".
    """
    encoder = GatedConvEncoder(shape, features, channels, levels)
    decoder = GatedConvDecoder(latents, shape, width=channels)
    return _bernoulli(encoder, decoder, levels, latents, _flow(flow, latents, length, features, width, rank), features)


def _bernoulli(
    encoder: nn.Module, decoder: nn.Module, levels: int, latents: int, flow: Bijection | None, features: int
) -> VAE:
    if levels != 2:
        raise ValueError(
            f"This VAE expects images of 2 levels, 0 and 1; got {levels}. Use binarized_mnist, or binarise the images."
        )
    posterior = FlowPosterior(features, latents, flow)
    return VAE(encoder, decoder, posterior, StandardNormal(latents), BernoulliLikelihood())


def _flow(name: FlowName | None, dim: int, length: int, context_dim: int, width: int, rank: int) -> Bijection | None:
    match name:
        case None:
            return None
        case "planar":
            return flows.planar(dim, length, context_dim)
        case "radial":
            return flows.radial(dim, length, context_dim)
        case "iaf":
            return flows.iaf(dim, length, (width,), context_dim)
        case "spline":
            return flows.spline_coupling((dim,), length, hidden_dims=(width,), context_dim=context_dim, act_norm=False)
        case "sylvester":
            return flows.sylvester(dim, length, rank, context_dim=context_dim)
