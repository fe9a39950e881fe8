"""Finding where weights, or a computation, first went non-finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyro_exact.nn.finite import first_non_finite_weight
from pyro_exact.transforms import Bijection


class NotFiniteError(ValueError):
    """Weights or scores that are NaN or infinite; a `ValueError`, as all other data that are not finite.

    Args:
        message: The whole error.
        culprit: What first was so.
    """

    def __init__(self, message: str, culprit: str = "") -> None:
        super().__init__(message)
        self.culprit = culprit


class DivergedError(NotFiniteError):
    """Training met a loss or a gradient that is not finite."""


def check_weights(model: nn.Module, source: str) -> None:
    """Make sure that all weights of a model are finite: of others, scores are NaN and samples may look like any other.

    Args:
        model: Any module.
        source: Where the weights come from, for the error.

    Raises:
        NotFiniteError: If not, with the name of the first such weight and its layer.
    """
    weight = first_non_finite_weight(model)
    if weight is not None:
        raise NotFiniteError(
            f"{source} expects finite weights; got {weight}. Take an earlier checkpoint, or train again, with a lower "
            f"training.learning_rate or with training.gradient_clip.",
            weight,
        )


@torch.no_grad()
def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all numbers of some tensors, of one device, are finite.

    By the check of `torch.amp.GradScaler`, which takes a quarter of the time of a norm.
    """
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(tensor)
    found = torch.zeros((), device=next(iter(by_dtype.values()))[0].device)
    for alike in by_dtype.values():
        torch._amp_foreach_non_finite_check_and_unscale_(alike, found, torch.ones_like(found))
    return not bool(found)


def first_non_finite(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Run a computation again, and return the name of the first module of ``model`` with a non-finite output.

    Modules are seen when they return; so of a layer and its parts the innermost is named.
    """
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        tensors = output if isinstance(output, tuple) else (output,)
        if not found and any(
            isinstance(t, Tensor) and not bool(torch.isfinite(t).all()) for t in tensors
        ):
            found.append(name)

    with torch.no_grad(), _watched(model, look):
        run()
    return found[0] if found else None


@contextmanager
def _watched(model: nn.Module, look: Callable[[str, Any], None]) -> Iterator[None]:
    """Call ``look(name, output)`` whenever a module or a direction of a bijection returns."""
    handles, wrapped = [], []
    for name, module in model.named_modules():
        label = f"{name} ({type(module).__name__})"
        handles.append(
            module.register_forward_hook(lambda _, __, output, label=label: look(label, output))
        )
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


def _looking(
    method: Callable[..., Any], label: str, look: Callable[[str, Any], None]
) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        output = method(*args)
        look(label, output)
        return output

    return call
