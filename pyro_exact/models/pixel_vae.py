"""Build a PixelVAE: a variational autoencoder whose decoder is a Gated PixelCNN."""

from __future__ import annotations

from functools import partial

from torch import nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.gated_pixel_cnn.net import GatedPixelCNN
from pyro_exact.autoregressive.pixel_net import of_levels
from pyro_exact.checks import LARGEST_COUNT, check_size, check_sizes
from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.models.vae import VAE
from pyro_exact.nn.gated_convolution import GatedConvDecoder, GatedConvEncoder


def pixel_vae(
    shape: tuple[int, int, int],
    levels: int = 2,
    latent_dim: int = 16,
    decoder_width: int = 16,
    decoder_depth: int = 13,
    kernel_size: int = 5,
    head_width: int = 32,
    upsample: bool = False,
    width: int = 32,
    features: int = 256,
) -> VAE:
    r"""Build a `VAE` whose decoder is a Gated PixelCNN with the latent in every gate.

    .. math:: p(x, z) = p(z) \prod_i p(x_i \mid x_1, \dots, x_{i-1}, z), \qquad
        q(z \mid x) = N(\mu(x), \sigma(x)^2)

    The preceding pixels tell the decoder about local structure, so z needs to encode global
    structure only, and may encode nothing: then the decoder ignores z (posterior collapse).
    `pyro_exact.diagnose` should be used to find out; free bits and annealing help (see
    docs/posterior_collapse.md).

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.
        latent_dim: Dimension of z.
        decoder_width: Channels of each stack of the Gated PixelCNN.
        decoder_depth: Autoregressive layers; the first has a 7x7 kernel. With 0 the pixels are
            independent given z, as in a plain VAE, whose decoder is the upsampling network.
        kernel_size: Odd side of the kernels after the first.
        head_width: Channels of the input of the last two convolutions of the decoder.
        upsample: If true, the gates take z as a map of the size of the image, computed using
            transposed convolutions; otherwise z adds the same bias to every pixel.
        width: Channels of the first convolutions of the encoder, and of the last convolutions of
            the upsampling network.
        features: Size of the features that the encoder returns.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1; z: (N, latent_dim).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is out of range.

    Reference:
        Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville (2017), PixelVAE: A Latent
        Variable Model for Natural Images, section 3.1, and official code. The encoder and the
        upsampling network are those of `GatedConvEncoder`; the last two convolutions of the decoder
        have no gates.

    Example:
        >>> model = pixel_vae(
        ...     (1, 8, 8), latent_dim=4, decoder_width=8, decoder_depth=2, head_width=8, width=4,
        ...     features=16,
        ... )
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """
    channels, height, breadth = check_sizes("pixel_vae", "shape", shape, length=3)
    shape = channels, height, breadth
    levels = check_size("pixel_vae", "levels", levels, least=2)
    latent_dim = check_size("pixel_vae", "latent_dim", latent_dim)
    depth = check_size("pixel_vae", "decoder_depth", decoder_depth, least=0, most=LARGEST_COUNT)
    width = check_size("pixel_vae", "width", width)

    # The first autoregressive layer is not counted in the depth of a GatedPixelCNN.
    gated_pixel_cnn = partial(
        GatedPixelCNN, shape, levels, decoder_width, depth - 1, kernel_size, head_width
    )
    decoder: nn.Module = nn.Identity()
    likelihood: Likelihood | CausalNet
    if depth == 0:
        likelihood = of_levels(levels)
        decoder = GatedConvDecoder(latent_dim, shape, likelihood.num_params, width)
    elif upsample:
        context_shape = (width, height, breadth)
        likelihood = gated_pixel_cnn(context_shape)
        decoder = nn.Sequential(
            GatedConvDecoder(latent_dim, context_shape, 1, width), nn.Flatten(-2)
        )
    else:
        likelihood = gated_pixel_cnn(latent_dim)

    encoder = GatedConvEncoder(shape, features, width, levels)
    posterior = FlowPosterior(features, latent_dim)
    return VAE(encoder, decoder, posterior, StandardNormal(latent_dim), likelihood)
