"""Neural spline flows with coupling layers, on vectors and on images."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.flows.arguments import check_context_dim, image_shape, vector_dim
from pyro_exact.flows.couplings import couplings
from pyro_exact.flows.glow import multi_scale
from pyro_exact.nn.conditioner import PriorConditioner
from pyro_exact.nn.residual import ResidualConditioner
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.partition import Channels
from pyro_exact.transforms.spline import Spline


def spline_coupling(
    shape: int | tuple[int],
    layers: int = 4,
    bins: int = 16,
    bound: float = 5.0,
    hidden_dims: Sequence[int] = (64, 64),
    context_dim: int | None = None,
    act_norm: bool = True,
    shuffle: bool = True,
) -> Bijection:
    r"""Build a neural spline flow for vectors, from data to noise.

    This flow has `Spline` couplings that exchange the halves.

    Both directions of this flow take a single pass. See `image_spline_coupling` for images.

    When choosing between flows, see the table of held-out likelihoods in docs/results.md.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        layers: Coupling layers.
        bins: Bins of each spline.
        bound: The splines bend the interval [-bound, bound]; outside they are the identity.
        hidden_dims: Widths of the hidden layers of each conditioner.
        context_dim: Size of a context vector used by every conditioner.
        act_norm: If true (default), an `ActNorm` precedes each coupling and follows the last;
            ``initialize`` should be called to set these, and so brings the data to the interval of
            the splines.
        shuffle: If true, the dimensions are permuted between two couplings; see
            `couplings`. The paper has learned linear layers instead.

    Raises:
        ValueError: If this is not the shape of a vector, or ``layers`` is not positive.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF
        (C)).

    Example:
        >>> flow = spline_coupling(2)
        >>> flow(torch.randn(5, 2)).shape
        torch.Size([5, 2])
    """
    dim = vector_dim("spline_coupling", shape)
    formula = Spline(bins, bound)

    return couplings(dim, formula, layers, hidden_dims, context_dim, act_norm, shuffle)


def image_spline_coupling(
    shape: tuple[int, int, int],
    levels: int = 256,
    scales: int = 2,
    steps: int = 4,
    bins: int = 8,
    bound: float = 3.0,
    width: int = 64,
    depth: int = 3,
    context_dim: int | None = None,
) -> Bijection:
    r"""Build a neural spline flow for images (C, H, W) in pixel levels, to a vector of noise.

    This flow is a `glow` with `Spline` couplings, whose conditioners are residual networks.

    Args:
        shape: Shape (C, H, W) of the images; H and W are multiples of 2 to the power of ``scales``.
        levels: Pixel levels.
        scales: Scales of the flow.
        steps: Steps of flow in each scale; the authors use 7 for CIFAR-10.
        bins: Bins of each spline.
        bound: The splines bend the interval [-bound, bound]; outside they are the identity.
        width: Hidden channels of the conditioners.
        depth: Residual blocks of each conditioner.
        context_dim: Size of a context vector used by every conditioner.

    Raises:
        ValueError: If this is not the shape of an image, or does not allow this many scales.

    Reference:
        Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3 (RQ-NSF
        (C)), and the authors' code for the steps and networks.

    Example:
        >>> flow = image_spline_coupling((1, 8, 8), levels=17, width=8, depth=1)
        >>> flow(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    builder = "image_spline_coupling"
    image = image_shape(builder, shape, levels)
    formula = Spline(bins, bound)
    width = check_size(builder, "width", width)
    depth = check_size(builder, "depth", depth, most=LARGEST_COUNT)
    context_dim = check_context_dim(builder, context_dim)

    def coupling(half: Channels) -> Coupling:
        net = ResidualConditioner(
            half.fixed_size, half.free_size, formula.num_params, width, depth, context_dim
        )
        return Coupling(half, formula, net)

    def prior(channels: int) -> PriorConditioner:
        return PriorConditioner(channels, channels)

    flow = multi_scale(builder, image, scales, steps, coupling, prior, context_dim)
    return Compose([FixedAffine(1 / levels, -0.5), *flow.parts])
