"""The layout of images in memory."""

import torch
from torch import Tensor

from pyro_exact.ops.functorch import functorch_active


def channels_last(images: Tensor) -> Tensor:
    """Return images, (N, C, H, W), with their channels innermost in memory, where convolutions are fastest on a CPU.

    Within a transform of `torch.func` they stay as they are: there is no rule for that layout.
    """
    return images if functorch_active() else images.contiguous(memory_format=torch.channels_last)
