"""Whether a transform looks on."""

import torch
from torch import Tensor


def transformed(*tensors: Tensor) -> bool:
    """Return whether a gradient that is written by hand has no rules for what is going on.

    That is within a transform of `torch.func`, and where a tensor holds a batch of gradients, as in
    `torch.autograd.grad` with ``is_grads_batched``.
    """
    if torch.compiler.is_compiling():
        return False
    batched = torch._C._functorch.is_legacy_batchedtensor
    return torch._C._are_functorch_transforms_active() or any(batched(tensor) for tensor in tensors)
