"""PixelVAE: a variational autoencoder whose decoder knows the pixels before each pixel."""

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


class PixelVAE(VAE):
    r"""A VAE whose decoder is a Gated PixelCNN with the latent in every gate.

    .. math:: p(x, z) = p(z) \prod_i p(x_i \mid x_1, \dots, x_{i-1}, z), \qquad q(z \mid x) = N(\mu(x), \sigma(x)^2)

    The pixels before tell the decoder what is near, and z is left with what is global, which may be
    nothing: then the decoder explains the data without it. `pyro_exact.diagnose` says so; free bits
    and annealing help z (see docs/posterior_collapse.md).

    Args:
        shape: (C, H, W), with sides that 4 divides.
        levels: Number of pixel levels.
        latents: Dimension of z.
        layers: Number of autoregressive layers. The first one has a 7x7 kernel. With none the
            pixels are independent given z, as in a plain VAE, and z reaches them through the
            upsampling network.
        hidden: Channels of either stack of the Gated PixelCNN.
        kernel_size: Odd side of its kernels after the first.
        head: Channels of its last two convolutions' input.
        upsample: Whether z reaches the gates as a map of the size of the image, made by transposed
            convolutions, or as it is: the same bias for every pixel.
        width: Channels of the first convolutions of the encoder, and of the last ones of the
            upsampling network.
        features: What the encoder makes of an image.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1; z: (N, latents).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is out of range; on values that are no
            levels.

    Reference:
        Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville (2017), PixelVAE: A Latent
        Variable Model for Natural Images, section 3.1, and official code. The encoder, and the
        network that upsamples z, are those of `GatedConvEncoder`; the last two convolutions of the
        decoder have no gates.

    Example:
        >>> model = PixelVAE((1, 8, 8), latents=4, layers=2, hidden=8, head=8, width=4, features=16)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 2,
        latents: int = 16,
        layers: int = 13,
        hidden: int = 16,
        kernel_size: int = 5,
        head: int = 32,
        upsample: bool = False,
        width: int = 32,
        features: int = 256,
    ) -> None:
        channels, height, side = check_sizes("PixelVAE", "shape", shape, length=3)
        shape, levels = (channels, height, side), check_size("PixelVAE", "levels", levels, least=2)
        latents = check_size("PixelVAE", "latents", latents)
        layers = check_size("PixelVAE", "layers", layers, least=0, most=LARGEST_COUNT)
        width = check_size("PixelVAE", "width", width)
        upsampled = (width, *shape[1:])
        gated = partial(GatedPixelCNN, shape, levels, hidden, layers - 1, kernel_size, head)
        decoder: nn.Module = nn.Identity()
        likelihood: Likelihood | CausalNet
        if layers == 0:
            likelihood = of_levels(levels)
            decoder = GatedConvDecoder(latents, shape, likelihood.num_params, width)
        elif upsample:
            likelihood = gated(upsampled)
            decoder = nn.Sequential(GatedConvDecoder(latents, upsampled, 1, width), nn.Flatten(-2))
        else:
            likelihood = gated(latents)
        encoder = GatedConvEncoder(shape, features, width, levels)
        super().__init__(
            encoder, decoder, FlowPosterior(features, latents), StandardNormal(latents), likelihood
        )
