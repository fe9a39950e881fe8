"""Neural spline flow with coupling layers, on vectors and on images."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.flows.arguments import (
    check_context_dim,
    check_length,
    check_unused,
    image_shape,
    vector_or_image_shape,
)
from pyro_exact.flows.couplings import couplings
from pyro_exact.flows.glow import multi_scale
from pyro_exact.nn.conditioner import PriorConditioner
from pyro_exact.nn.residual import ResidualConditioner
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.partition import Channels
from pyro_exact.transforms.scaling import Scaling
from pyro_exact.transforms.spline import Spline


def spline_coupling(
    shape: tuple[int] | tuple[int, int, int],
    length: int = 4,
    bins: int = 8,
    bound: float = 3.0,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    levels: int = 256,
    scales: int = 2,
    width: int = 64,
    blocks: int = 3,
) -> Bijection:
    r"""Build a neural spline flow, from data to noise: rational-quadratic `Spline` couplings.

    On vectors they exchange the halves. On images (C, H, W) in pixel levels, to a vector of C H W
    numbers, they take the place of the affine ones in a `glow`, with residual networks.

    Args:
        shape: (dim,) of a vector, or (C, H, W) of an image.
        length: Number of couplings, of images at each scale; the authors have 7 for CIFAR-10.
        bins: Number of bins of each spline.
        bound: The splines bend [-bound, bound]; outside they change nothing.
        hidden_dims: Of vectors: widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector that every conditioner sees.
        act_norm: Of vectors: whether an `ActNorm` precedes each coupling, as it always does on
            images; ``initialize`` sets it from data, and so brings the data to where the splines
            bend.
        levels: Of images: number of pixel levels.
        scales: Of images: number of scales; H and W are multiples of 2 to that power.
        width: Of images: hidden channels of the conditioners.
        blocks: Of images: residual blocks of each conditioner.

    Raises:
        ValueError: If the shape is neither that of a vector nor that of an image with so many
            scales, the length is not positive, or an argument of the other kind of shape is given.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF
        (C)), and the authors' code for the steps and networks of images.

    Example:
        >>> flow = spline_coupling((2,))
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
        >>> spline_coupling((1, 8, 8), levels=17, width=8, blocks=1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    vector_or_image_shape("spline_coupling", shape)
    formula = Spline(bins, bound)
    if len(shape) == 1:
        check_unused(
            spline_coupling, shape, levels=levels, scales=scales, width=width, blocks=blocks
        )
        return couplings(shape, formula, length, hidden_dims, context_dim, act_norm)
    check_unused(spline_coupling, shape, hidden_dims=hidden_dims, act_norm=act_norm)
    length = check_length(length)
    context_dim = check_context_dim("spline_coupling", context_dim)
    width = check_size("spline_coupling", "width", width)
    blocks = check_size("spline_coupling", "blocks", blocks, most=LARGEST_COUNT)

    def coupling(half: Channels) -> Coupling:
        sizes = half.fixed_size, half.free_size
        return Coupling(
            half,
            formula,
            ResidualConditioner(*sizes, formula.num_params, width, blocks, context_dim),
        )

    def prior(channels: int) -> PriorConditioner:
        return PriorConditioner(channels, channels)

    image = image_shape("spline_coupling", shape, levels)
    steps = multi_scale("spline_coupling", image, scales, length, coupling, prior, context_dim)
    return Compose([Scaling(1 / levels, -0.5), *steps.parts])
