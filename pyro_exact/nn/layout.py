"""The layout of images in memory."""

import torch
from torch import Tensor

from pyro_exact.ops.functorch import functorch_active


def channels_last(images: Tensor) -> Tensor:
    """Return images, (N, C, H, W), with the channels innermost in memory.

    Using this layout, convolutions are fastest on a CPU. Within a transform of `torch.func` the
    images are not changed, because there is no rule for this layout.
    """
    return images if functorch_active() else images.contiguous(memory_format=torch.channels_last)
