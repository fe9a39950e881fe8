"""Build a two-level PixelVAE from sizes."""

from __future__ import annotations

from torch import nn

from pyro_exact.autoregressive.gated_pixel_cnn.net import GatedPixelCNN
from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.gaussian import GaussianLikelihood
from pyro_exact.models.hierarchical_pixel_vae.model import HierarchicalPixelVAE
from pyro_exact.nn.gated_convolution import (
    BatchedSequential,
    GatedConv2d,
    downsampling,
    quarter_size,
    upsampling,
)


def hierarchical_pixel_vae(
    shape: tuple[int, int, int],
    levels: int = 256,
    latent_dim: int = 512,
    latent_channels: int = 64,
    width: int = 64,
    features: int = 512,
    decoder_width: int = 128,
    decoder_depth: int = 3,
    kernel_size: int = 5,
    head_width: int = 256,
    prior_width: int = 128,
    prior_depth: int = 3,
    components: int | None = None,
) -> HierarchicalPixelVAE:
    r"""Build a `HierarchicalPixelVAE` whose prior of the map and whose decoder are Gated PixelCNNs.

    Use this builder for natural images. Each PixelCNN takes the level above, upsampled to a map of
    the same size, into every gate.

    Args:
        shape: (C, H, W), with sides that 4 divides, for example 32 or 64.
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.
        latent_dim: Dimension of the vector :math:`z_2`.
        latent_channels: Channels of the map :math:`z_1`, of shape (latent_channels, H / 4, W / 4).
        width: Channels of the convolutions at the size of the image; at the size of the map there
            are twice as many.
        features: Size of the features used by the posterior of :math:`z_2`.
        decoder_width: Channels of each stack of the decoder.
        decoder_depth: Autoregressive layers of the decoder, at least 1; the first has a 7x7 kernel.
        kernel_size: Odd side of the other kernels.
        head_width: Channels of the input of the last two convolutions of the decoder.
        prior_width: Channels of each stack of the prior of the map.
        prior_depth: Autoregressive layers of the prior; the kernels after the first are
            3x3.
        components: Logistics in the mixture for a whole pixel; optional; the default is a
            categorical distribution of each element, as in the paper.

    Raises:
        ValueError: If 4 does not divide the sides, or a size is out of range.

    Reference:
        As `HierarchicalPixelVAE`. The convolutions between the levels are those of
        `GatedConvEncoder`, without batch normalisation.

    Example:
        >>> model = hierarchical_pixel_vae(
        ...     (3, 8, 8), 4, latent_dim=4, latent_channels=2, width=4, features=8,
        ...     decoder_width=6, decoder_depth=2, head_width=6,
        ... )
        >>> model.sample(5, vary="pixels").shape
        torch.Size([5, 3, 8, 8])
    """
    name = "hierarchical_pixel_vae"
    levels = check_size(name, "levels", levels, 2)
    latent_dim = check_size(name, "latent_dim", latent_dim)
    latent_channels = check_size(name, "latent_channels", latent_channels)
    width = check_size(name, "width", width)
    features = check_size(name, "features", features)
    decoder_depth = check_size(name, "decoder_depth", decoder_depth, most=LARGEST_COUNT)
    prior_width = check_size(name, "prior_width", prior_width)
    prior_depth = check_size(name, "prior_depth", prior_depth, most=LARGEST_COUNT)

    map_size, map_width = quarter_size(shape), 2 * width

    prior = GatedPixelCNN(
        (latent_channels, *map_size), None, prior_width, prior_depth - 1, 3, 2 * prior_width,
        (map_width, *map_size), GaussianLikelihood(latent_channels),
    )  # fmt: skip
    mixture = None
    if components is not None:
        mixture = DiscretizedLogisticMixture(shape[0], levels, components)
    decoder = GatedPixelCNN(
        shape, levels, decoder_width, decoder_depth - 1, kernel_size, head_width,
        (width, *shape[1:]), mixture,
    )  # fmt: skip

    return HierarchicalPixelVAE(
        encoder=BatchedSequential(*downsampling(shape[0], width)),
        to_bottom=BatchedSequential(nn.Conv2d(map_width, 2 * latent_channels, 1)),
        to_top=BatchedSequential(GatedConv2d(nn.Conv2d(map_width, 2 * features, map_size))),
        top_posterior=FlowPosterior(features, latent_dim),
        top_prior=StandardNormal(latent_dim),
        from_top=BatchedSequential(
            GatedConv2d(
                nn.ConvTranspose2d(latent_dim, 2 * map_width, map_size), inputs_per_output=1
            ),
            GatedConv2d(nn.Conv2d(map_width, 2 * map_width, 3, padding=1)),
        ),
        bottom_prior=prior,
        from_bottom=BatchedSequential(*upsampling(latent_channels, width)),
        likelihood=decoder,
    )
