"""What Python knows of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Derived(Generic[T]):
    """What Python derives from tensors, anew when they are others or have been written into.

    A compiler takes what was derived before: to look at the numbers would break its graph.

    Args:
        derive: A function of the tensors.
        tensors: The first ones.
    """

    def __init__(self, derive: Callable[..., T], *tensors: Tensor) -> None:
        self.derive = derive
        self._set(tensors)

    def of(self, *tensors: Tensor) -> T:
        """Return what is derived from tensors as they are now."""
        if not torch.compiler.is_compiling():
            same = all(mine is yours for mine, yours in zip(self.tensors, tensors, strict=True))
            if not same or self.versions != _versions(tensors):
                self._set(tensors)
        return self.value

    def _set(self, tensors: tuple[Tensor, ...]) -> None:
        with torch.inference_mode(False):  # else what is derived could not be saved for a gradient
            self.tensors, self.versions, self.value = tensors, _versions(tensors), self.derive(*tensors)


def _versions(tensors: tuple[Tensor, ...]) -> list[int]:
    """Return numbers that change when the tensors are written into."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
