"""Build a VAE of images with dense networks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pyro_exact.checks import check_size, check_sizes
from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.models.vae import VAE
from pyro_exact.models.vae_parts import FlowName, pixel_likelihood, posterior
from pyro_exact.nn.dense import DenseDecoder, DenseEncoder


def dense_vae(
    shape: tuple[int, int, int],
    levels: int = 2,
    latent_dim: int = 40,
    hidden_dims: Sequence[int] = (400, 400),
    flow: FlowName | None = None,
    flow_layers: int = 4,
    flow_width: int = 320,
    flow_rank: int = 32,
    likelihood: AnyLikelihood | None = None,
) -> VAE:
    """Build a `VAE` with dense networks, which should be used for small images.

    Args:
        shape: (C, H, W).
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.
        latent_dim: Dimension of the latent.
        hidden_dims: Widths of the hidden layers of the encoder, and in this order of the decoder
            too.
        flow: Flow of the posterior after the diagonal normal, amortised by the encoder; optional,
            the default is the normal alone.
        flow_layers: Layers of the flow.
        flow_width: Width of the hidden layers, used by "iaf", "coupling" and "spline".
        flow_rank: Hidden units of each layer, used by "sylvester".
        likelihood: Distribution of a site, as an object, by name, or as settings with a name, for
            example ``"categorical"`` or ``{"name": "discretized_logistic_mixture", "components":
            5}``. The default is Bernoulli for two levels, and a discretised logistic with more.

    Raises:
        ValueError: If a size is out of range, or the likelihood does not fit the levels.

    Example:
        >>> model = dense_vae((1, 4, 4), latent_dim=2, hidden_dims=(8,), flow="planar")
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """
    latent_dim = check_size("dense_vae", "latent_dim", latent_dim)
    hidden_dims = check_sizes("dense_vae", "hidden_dims", hidden_dims)
    site_likelihood, grid = pixel_likelihood(likelihood, shape, levels)
    features = hidden_dims[-1] if hidden_dims else prod(shape)

    return VAE(
        DenseEncoder(shape, hidden_dims, levels),
        DenseDecoder(latent_dim, grid, site_likelihood.num_params, hidden_dims),
        posterior(features, latent_dim, flow, flow_layers, flow_width, flow_rank),
        StandardNormal(latent_dim),
        site_likelihood,
    )
