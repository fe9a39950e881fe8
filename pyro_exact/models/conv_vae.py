"""Build a VAE of images with gated convolutional networks."""

from __future__ import annotations

from torch import nn

from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.models.vae import VAE
from pyro_exact.models.vae_parts import FlowName, pixel_likelihood, posterior
from pyro_exact.nn.gated_convolution import GatedConvDecoder, GatedConvEncoder


def conv_vae(
    shape: tuple[int, int, int],
    levels: int = 2,
    latent_dim: int = 64,
    width: int = 32,
    features: int = 256,
    flow: FlowName | None = None,
    flow_layers: int = 4,
    flow_width: int = 320,
    flow_rank: int = 32,
    likelihood: AnyLikelihood | None = None,
) -> VAE:
    """Build a `VAE` with gated convolutional networks. Use it for images.

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.
        latent_dim: Dimension of the latent.
        width: Channels of the convolutions at the size of the image.
        features: Size of the features that the encoder returns.
        flow: As in `dense_vae`, like the following arguments.
        flow_layers: Layers of the flow.
        flow_width: Width of the hidden layers, used by "iaf", "coupling" and "spline".
        flow_rank: Hidden units of each layer, used by "sylvester".
        likelihood: As in `dense_vae`.

    Raises:
        ValueError: If 4 does not divide the sides, a size is out of range, or the likelihood does
            not fit the levels.

    Reference:
        Van den Berg, Hasenclever, Tomczak and Welling (2018), Sylvester Normalizing Flows for
        Variational Inference, section 6.1.

    Example:
        >>> model = conv_vae((1, 8, 8), latent_dim=2, width=4, features=8)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """
    site_likelihood, grid = pixel_likelihood(likelihood, shape, levels)

    # A grid of two dimensions holds whole pixels, whose channels belong to the likelihood.
    whole_pixels = len(grid) == 2
    decoder: nn.Module = GatedConvDecoder(
        latent_dim,
        (1 if whole_pixels else shape[0], *shape[1:]),
        site_likelihood.num_params,
        width,
    )
    if whole_pixels:
        decoder = nn.Sequential(decoder, nn.Flatten(-4, -3))

    return VAE(
        GatedConvEncoder(shape, features, width, levels),
        decoder,
        posterior(features, latent_dim, flow, flow_layers, flow_width, flow_rank),
        StandardNormal(latent_dim),
        site_likelihood,
    )
