"""What Python knows of tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Derived(Generic[T]):
    """What Python derives from tensors, anew when they are others or have been written into.

    A compiler takes what was derived before: to look at the numbers would break its graph. What is
    written through ``.data`` goes unseen.

    Args:
        derive: A function of the tensors.
        tensors: The first ones.
    """

    def __init__(self, derive: Callable[..., T], *tensors: Tensor) -> None:
        self.derive = derive
        self._set(tensors)

    def of(self, *tensors: Tensor) -> T:
        """Return what is derived from tensors as they are now."""
        if not torch.compiler.is_compiling() and not self._knows(tensors):
            self._set(tensors)
        return self.value

    def _set(self, tensors: tuple[Tensor, ...]) -> None:
        with torch.inference_mode(False):  # else what is derived could not be saved for a gradient
            self.tensors, self.value = tensors, self.derive(*tensors)
            # A tensor of inference does not count what is written into it.
            self.seen = [
                tensor.clone() if tensor.is_inference() else tensor._version for tensor in tensors
            ]

    def _knows(self, tensors: tuple[Tensor, ...]) -> bool:
        return all(
            mine is yours
            and (torch.equal(seen, yours) if isinstance(seen, Tensor) else seen == yours._version)
            for mine, yours, seen in zip(self.tensors, tensors, self.seen, strict=True)
        )


def derive_when_loaded(module: nn.Module, name: str) -> None:
    """Look at a derived attribute of a module after each load of its state, before a compiler does."""
    module.register_load_state_dict_post_hook(partial(_look, name))


def _look(name: str, module: nn.Module, _: object) -> None:
    getattr(module, name)
