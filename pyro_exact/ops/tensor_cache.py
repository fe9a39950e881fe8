"""Cache a Python value that is computed from tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class TensorCache(Generic[T]):
    """A value that Python computes from tensors, for example the blocks of a mask.

    This value is computed again when a tensor is replaced or written to. A compiler uses the
    previous value, because reading the tensors would break the graph. Writes through ``.data`` are
    not seen.

    Args:
        compute: The function of the tensors.
        tensors: The tensors at the start.
    """

    def __init__(self, compute: Callable[..., T], *tensors: Tensor) -> None:
        self.compute = compute
        self._set(tensors)

    def of(self, *tensors: Tensor) -> T:
        """Return the value for the present tensors."""
        if not torch.compiler.is_compiling() and not self._is_current(tensors):
            self._set(tensors)

        return self.value

    def _set(self, tensors: tuple[Tensor, ...]) -> None:
        # A tensor that is made in inference mode could not be saved for a gradient.
        with torch.inference_mode(False):
            self.tensors = tensors
            self.value = self.compute(*tensors)

            # A tensor of inference mode does not count the writes into it: keep its values.
            self.seen = [
                tensor.clone() if tensor.is_inference() else tensor._version for tensor in tensors
            ]

    def _is_current(self, tensors: tuple[Tensor, ...]) -> bool:
        """Return whether the tensors are the same objects, without a write since."""
        states = zip(
            self.tensors,
            tensors,
            self.seen,
            strict=True,
        )
        for mine, yours, seen in states:
            if mine is not yours:
                return False

            if isinstance(seen, Tensor):
                if not torch.equal(seen, yours):
                    return False
            elif seen != yours._version:
                return False

        return True


def refresh_on_load(module: nn.Module, name: str) -> None:
    """Recompute a cached attribute of a module after each load of a state."""
    module.register_load_state_dict_post_hook(partial(_read, name))


def _read(name: str, module: nn.Module, _: object) -> None:
    getattr(module, name)
