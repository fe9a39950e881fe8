"""Build a Multiscale PixelCNN from sizes."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.autoregressive.gated_pixel_cnn import GatedPixelCNN
from pyro_exact.autoregressive.multiscale_pixel_cnn.net import MultiscalePixelCNN
from pyro_exact.autoregressive.pixel_net import of_levels
from pyro_exact.checks import check_size, check_sizes
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture

MOST_SCALES = 24


def multiscale_pixel_cnn(
    shape: Sequence[int],
    levels: int = 256,
    scales: int = 3,
    width: int = 128,
    depth: int = 12,
    kernel_size: int = 3,
    head_width: int = 256,
    base_width: int = 128,
    base_depth: int = 12,
    base_head_width: int = 256,
    components: int | None = None,
    shared: bool = False,
    context_dim: int | None = None,
) -> MultiscalePixelCNN:
    r"""Build a `MultiscalePixelCNN` whose base is a `GatedPixelCNN`.

    Args:
        shape: (C, H, W), with sides that 2^scales divides.
        levels: Levels of a pixel; two make bits.
        scales: Doublings from the base to the image.
        width: Channels of the residual network of each group.
        depth: Blocks of the residual network.
        kernel_size: Odd side of the kernels of these networks, in cells of 2x2 pixels.
        head_width: Channels of the input of the last layer of these networks.
        base_width: Channels of either stack of the base.
        base_depth: Layers of the base after the first.
        base_head_width: Channels of the input of the last two convolutions of the base.
        components: Logistics of a mixture over whole pixels; by default a site is a single element.
        shared: If true, all scales use the same networks.
        context_dim: Size of a context vector, for example a one-hot class.

    Raises:
        ValueError: If the sides do not fit, with the number of scales that does.

    Example:
        >>> sizes = {"width": 8, "depth": 1, "head_width": 8, "base_width": 8, "base_depth": 1}
        >>> net = multiscale_pixel_cnn((1, 8, 8), 2, scales=2, base_head_width=8, **sizes)
        >>> net.num_steps
        10
    """
    name = "multiscale_pixel_cnn"
    channels, height, image_width = check_sizes(name, "shape", shape, length=3)
    levels = check_size(name, "levels", levels, least=2)
    scales = check_size(name, "scales", scales, most=MOST_SCALES)

    factor = 2**scales
    if height % factor or image_width % factor:
        raise ValueError(
            f"{name} expects sides that 2^scales divides, {factor} for scales={scales}; got "
            f"{(height, image_width)}. {_advice(height, image_width)}"
        )

    likelihood = of_levels(levels)
    if components is not None:
        likelihood = DiscretizedLogisticMixture(channels, levels, components)
    base = GatedPixelCNN(
        (channels, height // factor, image_width // factor),
        levels,
        base_width,
        base_depth,
        head_width=base_head_width,
        context_shape=context_dim,
        likelihood=likelihood,
    )
    return MultiscalePixelCNN(
        (channels, height, image_width), base, width, depth, kernel_size, head_width, shared
    )


def _advice(height: int, width: int) -> str:
    """Return how many scales the sides of an image allow."""
    sides = height | width
    most = (sides & -sides).bit_length() - 1  # trailing zeros: how often 2 divides both sides
    if most == 0:
        return (
            f"Pad the images to even sides, for example {(height + height % 2, width + width % 2)}."
        )
    return f"Use at most {most} scales, or pad the images."
