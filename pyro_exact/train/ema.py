"""The exponential moving average of the weights, which is evaluated instead of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

Update = Callable[[list[Tensor], list[Tensor], int | Tensor], None]


class EMA(WeightAveraging):
    """A Lightning callback that keeps an exponential moving average of the weights.

    Validation uses the average, and checkpoints hold both the average and the weights.

    At the end of training, `WeightAveraging` copies the average over the weights. This class does
    not, because both must be in a checkpoint that is saved later. So the position of this callback
    in a list of callbacks does not matter.

    Args:
        decay: The decay of `ema_update`.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=ema_update(decay))

    def on_train_end(self, *_: Any) -> None:
        """Keep the weights."""

    def copy_to(self, module: lightning.LightningModule) -> None:
        """Copy the average over the weights of a module, after training."""
        self._copy_average_to_current(module)


def ema_update(decay: float) -> Update:
    r"""Return a function that updates an exponential moving average of weights in place.

    .. math::

        \bar w \leftarrow d_n \bar w + (1 - d_n)\, w,
        \qquad d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    The decay grows with the count :math:`n` of averages, so that a short run does not depend on the
    initial weights.

    Args:
        decay: :math:`d`, in [0, 1).
    """

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], n: int | Tensor) -> None:
        d = min(decay, (1 + int(n)) / (10 + int(n)))
        torch._foreach_lerp_(averages, weights, 1 - d)

    return update
