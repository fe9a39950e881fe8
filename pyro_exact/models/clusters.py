"""Clusters of rows, from which the components of a mixture start."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 10  # the clusters are only a start


@torch.no_grad()
def clusters(x: Tensor, count: int) -> Tensor:
    """Return the cluster of each row, found by k-means.

    The first centres are rows drawn with a probability proportional to the squared distance from
    the centres before. The draw uses torch's random state.

    Args:
        x: Rows.
        count: Clusters; some may be empty.

    Shape:
        - x: (N, D).
        - output: (N,), integers in {0, ..., count - 1}.

    Reference:
        Arthur and Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding.
    """
    centres = x[torch.randint(len(x), (1,))]
    for _ in range(count - 1):
        distance = torch.cdist(x, centres).amin(1).square()
        weight = distance if bool((distance > 0).any()) else torch.ones_like(distance)
        centres = torch.cat([centres, x[torch.multinomial(weight, 1)]])

    for _ in range(_ROUNDS):
        label = torch.cdist(x, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add(0, label, x)
        counts = label.bincount(minlength=count).unsqueeze(1)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return torch.cdist(x, centres).argmin(1)
