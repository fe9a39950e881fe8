"""Detect the transforms of `torch.func`, for which autograd must be used."""

import torch
from torch import Tensor


def functorch_active(*tensors: Tensor) -> bool:
    """Return whether a hand-written gradient has no rule for the current transform.

    This is the case within a transform of `torch.func` (vmap, grad, jvp), and when a tensor holds a
    batch of gradients, as in `torch.autograd.grad` with ``is_grads_batched``. While a compiler
    traces, the answer is no. PyTorch has no public function for either question.
    """
    if torch.compiler.is_compiling():
        return False

    batched = torch._C._functorch.is_legacy_batchedtensor
    if torch._C._are_functorch_transforms_active():
        return True

    return any(batched(tensor) for tensor in tensors)
