"""Values of sites as inputs of a network: elements unchanged, and categories as indicators."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.likelihoods.likelihood import Likelihood


def inputs_of_site(likelihood: Likelihood) -> int:
    """Return how many inputs a site has: an input for each level of a category, otherwise 1.

    A category has more than two levels. A bit and a real element are their own input.
    """
    levels = likelihood.levels
    return 1 if levels is None or levels == 2 else levels


def site_inputs(x: Tensor, likelihood: Likelihood, dim: int = -1) -> Tensor:
    """Return the inputs of sites, along a new dimension of the size `inputs_of_site`.

    A value that is not a level, such as NaN, becomes zeros; the likelihood reports it.

    Args:
        x: Values of the sites, of any shape.
        likelihood: The distribution of a site.
        dim: Position of the new dimension; the default is the last.
    """
    count = inputs_of_site(likelihood)
    if count == 1:
        return x.unsqueeze(dim)

    levels = torch.arange(count, dtype=x.dtype, device=x.device)
    one_hot = (x.unsqueeze(-1) == levels).to(x.dtype)
    return one_hot.movedim(-1, dim)


def rows_of_levels(weight: Tensor, value: Tensor) -> Tensor:
    r"""Return the row of a weight for each value: the product of one-hot inputs with the weight.

    Args:
        weight: (levels, width).
        value: Levels, (\*batch). A value that is not finite is reported by the sampler, so that any
            row will do.

    Returns:
        (\*batch, width).
    """
    level = value.long().clamp(0, len(weight) - 1)
    return torch.nn.functional.embedding(level, weight)
