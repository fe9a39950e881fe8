"""The running average of the weights that is evaluated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Update = Callable[[list[Tensor], list[Tensor], int | Tensor], None]


def ema_update(decay: float) -> Update:
    r"""Return the update of an exponential moving average of weights, for Lightning's `WeightAveraging`.

    .. math:: \bar w \leftarrow d_n \bar w + (1 - d_n)\, w, \qquad d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    The decay grows with the number :math:`n` of averages, so that a short run is not judged by how
    it started.

    Args:
        decay: :math:`d`, in [0, 1).
    """

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], n: int | Tensor) -> None:
        share = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averages, weights, share)

    return update
