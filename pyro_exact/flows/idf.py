"""Integer discrete flows."""

from __future__ import annotations

import torch

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.distributions.discrete_flow import DiscreteFlow, IntegerCoupling, IntegerScale
from pyro_exact.flows.arguments import check_scales, image_shape
from pyro_exact.likelihoods.circular_logistic_mixture import CircularLogisticMixture
from pyro_exact.nn.residual import ResidualConditioner


def idf(
    shape: tuple[int, int, int],
    levels: int = 256,
    scales: int = 3,
    steps: int = 8,
    width: int = 64,
    depth: int = 2,
    components: int = 5,
) -> DiscreteFlow:
    """Build an integer discrete flow (IDF) of images, the flow that codes without loss.

    Each scale has a `Squeeze` and couplings that shift a quarter of the channels by integers. Then
    half of the channels are factored out; their parameters are computed from the other half. Unlike
    in the paper, sums wrap around at the levels, so that each draw is an image and the
    probabilities of all images sum to 1, and the networks are residual.

    The result is a module that returns a distribution, and not a `Bijection`: use it as
    ``Density(idf(...))``.

    Args:
        shape: Shape (C, H, W) of the images; H and W are multiples of 2 to the power of ``scales``.
        levels: Pixel levels.
        scales: Scales of the flow; the paper uses 3 for CIFAR-10.
        steps: Couplings of each scale; the paper uses 8.
        width: Hidden channels of the networks.
        depth: Residual blocks of each network.
        components: Logistics of the mixture for each latent element; the paper uses 5.

    Raises:
        ValueError: If this is not the shape of an image, or does not allow this many scales.

    Reference:
        Hoogeboom, Peters, van den Berg and Welling (2019), Integer Discrete Flows and Lossless
        Compression, sections 4 and 5.

    Example:
        >>> flow = idf((1, 8, 8), levels=17, scales=2, steps=2, width=8, depth=1)
        >>> flow().sample((5,)).shape
        torch.Size([5, 1, 8, 8])
    """
    channels, height, breadth = image_shape("idf", shape, levels)
    levels = check_size("idf", "levels", levels, least=2)
    scales = check_scales("idf", shape, scales)
    steps = check_size("idf", "steps", steps, most=LARGEST_COUNT)
    width = check_size("idf", "width", width)
    depth = check_size("idf", "depth", depth, most=LARGEST_COUNT)
    likelihood = CircularLogisticMixture(levels, components)

    def scale(channels: int, last: bool) -> IntegerScale:
        free = max(1, channels // 4)
        couplings = [
            IntegerCoupling(
                channels,
                free,
                levels,
                ResidualConditioner(channels - free, free, 1, width, depth),
            )
            for _ in range(steps)
        ]

        kept = 0 if last else channels // 2
        latents = channels - kept
        prior = None
        if kept:
            prior = ResidualConditioner(kept, latents, likelihood.num_params, width, depth)

        # A uniform start: one turn of the circle, with scales of a tenth of it.
        means = (torch.arange(components) + 0.5) / components
        start = torch.cat((torch.zeros(components), means, torch.full((components,), -2.3)))
        return IntegerScale(couplings, kept, levels, prior, start.repeat(latents, 1, 1, 1))

    parts = []
    for index in range(scales):
        parts.append(scale(4 * channels, last=index == scales - 1))
        channels *= 2
    return DiscreteFlow((shape[0], height, breadth), likelihood, parts)
