"""Flow++, as a bijection from an image to a vector of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal, get_args

import torch

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.flows.arguments import image_shape
from pyro_exact.nn.attention import AttentionConditioner
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conv1x1 import Conv1x1
from pyro_exact.transforms.coupling import Coupling
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.logit import Logit
from pyro_exact.transforms.mixture_cdf import MixtureCDF
from pyro_exact.transforms.parallel import Parallel
from pyro_exact.transforms.partition import Channels, Checkerboard, Columns, Partition
from pyro_exact.transforms.permute import Permute
from pyro_exact.transforms.squeeze import Squeeze

Formula = Literal["mixture", "affine"]


def flow_pp(
    shape: tuple[int, int, int],
    levels: int = 256,
    width: int = 96,
    depth: int = 10,
    components: int = 32,
    heads: int = 4,
    dropout: float = 0.2,
    formula: Formula = "mixture",
    checkerboard: bool = False,
    logit_margin: float = 0.05,
) -> Bijection:
    r"""Build Flow++: an image (C, H, W) in pixel levels to a vector of noise.

    The `Logit` of the pixels goes through 4 steps that split columns and, when squeezed, through 2
    steps that split channels and 3 that split columns. Each step normalises every element, mixes
    the channels of each part using a `Conv1x1`, and couples the parts by a logistic mixture whose
    parameters come from gated convolutions and attention; the next step exchanges the parts.
    Nothing is factored out.

    The defaults are those of the official code for CIFAR-10. ``initialize`` must be called before
    training, because it sets all normalisations and rescales all convolutions using data.

    Args:
        shape: (C, H, W), with even H, and W a multiple of 4; with ``checkerboard`` both multiples
            of 4.
        levels: Pixel levels; images are dequantised to [0, levels).
        width: Hidden channels of the conditioners.
        depth: Blocks of each conditioner.
        components: Components of the logistic mixture.
        heads: Attention heads.
        dropout: Share of the hidden units of the conditioners that are dropped in training.
        formula: The type of the formula. ``"affine"`` is the ablation in the paper, with only a
            shift and a scale.
        checkerboard: If true, split as a checkerboard, as in the paper; the official code splits
            columns.
        logit_margin: See `Logit`.

    Raises:
        ValueError: If the shape cannot be split, or the width is not a multiple of the heads.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++: Improving Flow-Based Generative Models
        with Variational Dequantization and Architecture Design, and the official code.

    Example:
        >>> flow = flow_pp((1, 8, 8), levels=17, width=8, depth=1, components=2)
        >>> flow.eval()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    channels, height, breadth = shape = image_shape("flow_pp", shape, levels)
    if height % (4 if checkerboard else 2) or breadth % 4:
        raise ValueError(
            f"flow_pp expects an even height and a width that is a multiple of 4, with a "
            f"checkerboard both multiples "
            f"of 4; got {tuple(shape)}. Pad the images."
        )
    squeezed = 4 * channels, height // 2, breadth // 2
    positions_first = [4 * c + position for position in range(4) for c in range(channels)]

    def rows(
        partition: Callable[[int, bool], Partition], shape: Sequence[int], steps: int
    ) -> list[Bijection]:
        return coupling_steps(
            partition, shape, steps, formula, width, depth, components, heads, dropout
        )

    spatial = Checkerboard if checkerboard else Columns
    return Compose(
        [
            Logit(levels, logit_margin),
            *rows(spatial, shape, 4),
            Squeeze(),
            Permute(positions_first, event_dim=3),
            *rows(Channels, squeezed, 2),
            *rows(spatial, squeezed, 3),
            Flatten(squeezed),
        ]
    )


def coupling_steps(
    partition: Callable[[int, bool], Partition],
    shape: Sequence[int],
    steps: int,
    formula: Formula,
    width: int,
    depth: int,
    components: int,
    heads: int,
    dropout: float,
    context_channels: int | None = None,
) -> list[Bijection]:
    """Return the steps of `flow_pp` on images of ``shape``."""
    if formula not in get_args(Formula):
        raise ValueError(
            f"Flow++ expects formula 'mixture' or 'affine'; got {formula!r}. Choose one of these."
        )
    steps = check_size("Flow++", "steps", steps, most=LARGEST_COUNT)
    depth = check_size("Flow++", "depth", depth, most=LARGEST_COUNT)
    width, heads = check_size("Flow++", "width", width), check_size("Flow++", "heads", heads)
    dropout = check_number("Flow++", "dropout", dropout, 0, 0.99)

    def step(split: Partition) -> Bijection:
        fixed, free = split.split(torch.empty(*shape, device="meta"))
        elementwise: Elementwise = (
            MixtureCDF(components, spread=0.0)
            if formula == "mixture"
            else Affine(bound=1.0, shift_first=True)
        )
        net = AttentionConditioner(
            fixed.shape[0],
            free.shape[0],
            elementwise.num_params,
            (fixed.shape[1], fixed.shape[2]),
            width,
            depth,
            heads,
            dropout,
            context_channels,
        )
        mix = (Conv1x1(part.shape[0], factorized=False, rotated=False) for part in (fixed, free))
        return Compose(
            [element_norm(shape), Parallel(split, *mix), Coupling(split, elementwise, net)]
        )

    return [step(partition(shape[0], i % 2 == 1)) for i in range(steps)]


def element_norm(shape: Sequence[int]) -> Bijection:
    """Return a normalisation with a shift and a scale for every element of an image."""
    flatten = Flatten(shape)
    return Compose([flatten, ActNorm(prod(shape)), flatten.inv])
