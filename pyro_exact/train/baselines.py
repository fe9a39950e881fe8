"""Two simple codes used as baselines: every model should need fewer bits than both."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform_bits_per_dim(levels: int) -> float:
    """Return log2(levels), the bits per dimension of a code that uses all levels equally often."""
    return math.log2(levels)


def independent_bits_per_dim(train: Tensor, test: Tensor, levels: int) -> float:
    r"""Return the bits per dimension of a model with independent pixels.

    Each pixel and colour uses a separate histogram of the training images, with 1/2 added to each
    count (Krichevsky and Trofimov, 1981).

    .. math::

        -\frac1{N D} \sum_{n, d} \log_2
        \frac{\mathrm{count}_d(x_{n d}) + 1/2}{N_\mathrm{train} + L / 2}

    Args:
        train: Integers of shape (N, C, H, W) in {0, ..., levels - 1}.
        test: Images of the same kind, to be scored.
        levels: Levels of a pixel, :math:`L`.
    """
    dims = train[0].numel()

    # One histogram for each dimension: dimension d counts in the bins d L, ..., d L + L - 1.
    offsets = levels * torch.arange(dims)
    bins = (train.flatten(1).long() + offsets).flatten()
    counts = torch.bincount(bins, minlength=levels * dims).double()

    log2_p = (counts + 0.5).log2() - math.log2(len(train) + levels / 2)
    return -log2_p[test.flatten(1).long() + offsets].mean().item()
