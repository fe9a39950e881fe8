"""Find the weight or the layer that first became NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyro_exact.nn.finite import first_non_finite_weight
from pyro_exact.transforms import Bijection

Look = Callable[[str, Any], None]


class NotFiniteError(ValueError):
    """Weights or scores are NaN or infinite; a `ValueError`, as for any data that are not finite.

    Args:
        message: The whole error message.
        culprit: The weight or layer that first was not finite.
    """

    def __init__(self, message: str, culprit: str = "") -> None:
        super().__init__(message)
        self.culprit = culprit


class DivergedError(NotFiniteError):
    """A loss or a gradient of training is not finite."""


def check_weights(model: nn.Module, source: str) -> None:
    """Raise an error if a weight of a model is not finite.

    Use this check before scoring or sampling: with such weights, scores are NaN, and samples may
    still look like ordinary values.

    Args:
        model: Any module.
        source: The origin of the weights, used in the error.

    Raises:
        NotFiniteError: With the name of the first such weight and the corresponding layer.
    """
    weight = first_non_finite_weight(model)
    if weight is not None:
        raise NotFiniteError(
            f"{source} expects finite weights; got {weight}. Take an earlier checkpoint, or train "
            f"again, with a lower training.learning_rate or with training.gradient_clip.",
            weight,
        )


@torch.no_grad()
def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all elements of some tensors on the same device are finite.

    This is computed using the fused check of `torch.amp.GradScaler`, which takes a quarter of the
    time of a norm.
    """
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(tensor)

    device = next(iter(by_dtype.values()))[0].device
    found = torch.zeros((), device=device)
    for group in by_dtype.values():
        torch._amp_foreach_non_finite_check_and_unscale_(group, found, torch.ones_like(found))
    return not bool(found)


def first_non_finite(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Repeat a computation, and return the first module of ``model`` whose output is not finite.

    Modules are checked when they return, so that the innermost layer is named.

    Args:
        model: The model that the computation uses.
        run: The computation.
    """
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        tensors = output if isinstance(output, tuple) else (output,)
        finite = (bool(torch.isfinite(t).all()) for t in tensors if isinstance(t, Tensor))
        if not found and not all(finite):
            found.append(name)

    with torch.no_grad(), _watched(model, look):
        run()
    return found[0] if found else None


@contextmanager
def _watched(model: nn.Module, look: Look) -> Iterator[None]:
    """Call ``look(name, output)`` whenever a module or a direction of a bijection returns."""
    handles, wrapped = [], []
    for name, module in model.named_modules():
        label = f"{name} ({type(module).__name__})"

        def hook(_: nn.Module, __: object, output: object, label: str = label) -> None:
            look(label, output)

        handles.append(module.register_forward_hook(hook))
        if isinstance(module, Bijection):
            for method in ("transform", "invert"):
                setattr(module, method, _looking(getattr(module, method), label, look))
                wrapped.append((module, method))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, method in wrapped:
            delattr(module, method)


def _looking(method: Callable[..., Any], label: str, look: Look) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        output = method(*args)
        look(label, output)
        return output

    return call
