"""Glow, as a bijection from an image to a vector of noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.flows.arguments import check_context_dim, check_scales, image_shape
from pyro_exact.nn.conditioner import Conditioner, ConvConditioner, PriorConditioner
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.additive import Additive
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conv1x1 import Conv1x1
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.diagonal_affine import DiagonalAffine
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.factor_out import FactorOut
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.logit import Logit
from pyro_exact.transforms.partition import Channels
from pyro_exact.transforms.squeeze import Squeeze


def glow(
    shape: tuple[int, int, int],
    levels: int = 256,
    scales: int = 3,
    steps: int = 32,
    width: int = 512,
    scale: Literal["tanh", "sigmoid"] | None = "tanh",
    factorized: bool = False,
    logit_margin: float | None = None,
    edge: bool = True,
    log_scale_factor: float = 3.0,
    context_dim: int | None = None,
    recompute: bool = False,
) -> Bijection:
    r"""Build Glow: an image (C, H, W) in pixel levels to a vector of noise.

    Use this flow for images. Each scale squeezes, applies ``steps`` steps of `ActNorm`, `Conv1x1`
    and `Coupling`, and factors out half of the channels under a learned prior; the last scale keeps
    all channels under a learned `DiagonalAffine`.

    Args:
        shape: (C, H, W); H and W are multiples of 2 to the power of ``scales``.
        levels: Pixel levels; images are dequantised to [0, levels).
        scales: Scales of the flow, L in the paper.
        steps: Steps of flow in each scale, K in the paper.
        width: Hidden channels of the conditioners.
        scale: The type of the scale; see `Affine`. ``"tanh"`` is bounded on both sides, so that a
            coupling stretches no sample by more than e³. ``"sigmoid"`` is used by the official
            code: it has no lower bound, and rare samples of a trained model overflow, or most
            samples at a temperature of 3. `None` makes the couplings additive, as in the 5-bit
            models of the paper.
        factorized: If true, the 1x1 convolutions learn PLU factors; the official code does not.
        logit_margin: `None` scales the pixels to [-1/2, 1/2), as the official code does; a float
            uses a `Logit` with this margin, as RealNVP does.
        edge: See `ConvConditioner`.
        log_scale_factor: See `ConvConditioner`.
        context_dim: Size of an optional context vector, for example of a one-hot class, which is
            used by the last prior and every conditioner.
        recompute: Store no activations of the steps; see `Compose`.

    Raises:
        ValueError: If this is not the shape of an image, or does not allow this many scales.

    Reference:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions, and the
        official code.

    Example:
        >>> flow = glow((1, 8, 8), levels=17, scales=2, steps=2, width=8)
        >>> flow(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    shape = image_shape("glow", shape, levels)
    width = check_size("glow", "width", width)
    log_scale_factor = check_number("glow", "log_scale_factor", log_scale_factor, 0, 100)
    context_dim = check_context_dim("glow", context_dim)
    formula: Elementwise = Additive() if scale is None else Affine(scale, shift_first=True)

    def coupling(half: Channels) -> Coupling:
        sizes = half.fixed_size, half.free_size
        net = ConvConditioner(
            *sizes, formula.num_params, width, context_dim, edge, log_scale_factor
        )
        return Coupling(half, formula, net)

    def prior(channels: int) -> PriorConditioner:
        return PriorConditioner(channels, channels, edge, log_scale_factor)

    first = FixedAffine(1 / levels, -0.5) if logit_margin is None else Logit(levels, logit_margin)
    flow = multi_scale(
        "glow", shape, scales, steps, coupling, prior, context_dim, factorized, recompute
    )
    return Compose([first, *flow.parts])


def multi_scale(
    builder: str,
    shape: tuple[int, int, int],
    scales: int,
    steps: int,
    coupling: Callable[[Channels], Coupling],
    prior: Callable[[int], Conditioner],
    context_dim: int | None,
    factorized: bool = False,
    recompute: bool = False,
) -> Compose:
    """Build the multi-scale part of a `glow`, with any coupling of the channels."""
    scales = check_scales(builder, shape, scales)
    steps = check_size(builder, "steps", steps, most=LARGEST_COUNT)

    def step(channels: int) -> Bijection:
        last = coupling(Channels(channels))
        return Compose(
            [ActNorm(channels, event_dim=3), Conv1x1(channels, factorized=factorized), last]
        )

    def from_scale(index: int, shape: tuple[int, int, int]) -> Compose:
        channels, height, breadth = squeezed = 4 * shape[0], shape[1] // 2, shape[2] // 2
        here = Compose([step(channels) for _ in range(steps)], recompute)
        if index == scales - 1:
            return Compose(
                [Squeeze(), here, DiagonalAffine(squeezed, context_dim), Flatten(squeezed)]
            )
        rest = from_scale(index + 1, (channels // 2, height, breadth))
        factor_out = FactorOut(squeezed, rest, prior(channels // 2), Affine(shift_first=True))
        return Compose([Squeeze(), here, factor_out])

    return from_scale(0, shape)
