"""What a law is, to which layers it applies, and what it is written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.boundary import Shape


@dataclass(frozen=True)
class Law:
    """A statement about layers, and a function that raises where it does not hold.

    Args:
        check: The function; its docstring is the statement.
        applies: Whether the statement is one about a layer.
    """

    check: Callable[[Trial], None]
    applies: Callable[[Trial], bool]

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        return (self.check.__doc__ or "").strip()


def law(applies: Callable[[Trial], bool]) -> Callable[[Callable[[Trial], None]], Law]:
    """Make a law of a function, for the layers to which it applies."""
    return lambda check: Law(check, applies)


def always(trial: Trial) -> bool:
    """Any layer."""
    return True


def plain(trial: Trial) -> bool:
    """A layer without a context."""
    return trial.context is None


def conditional(trial: Trial) -> bool:
    """A layer with a context."""
    return trial.context is not None


def learns(trial: Trial) -> bool:
    """A layer with parameters."""
    return bool(trial.weights())


def learns_from_context(trial: Trial) -> bool:
    """A layer with a context and with parameters: one without any may have a context only to stand among others."""
    return conditional(trial) and learns(trial)


def keeps_shape(trial: Trial) -> bool:
    """A layer whose outputs have the shape of its inputs."""
    return trial.output_shape == trial.event_shape


def agree(subject: str, found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Raise unless two tensors are equal up to the tolerance: absolute for small numbers, relative for large ones."""
    has_shape(subject, found, expected.shape)
    off = ~torch.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if off.any():
        worst = torch.where(off, (found - expected).abs().nan_to_num(torch.inf), -1.0).argmax()
        raise AssertionError(
            f"{subject}: expected {expected.flatten()[worst].item()}; got {found.flatten()[worst].item()}. "
            f"{int(off.sum())} of {off.numel()} numbers are off by more than {tolerance}."
        )


def has_shape(subject: str, found: Tensor, expected: Shape) -> None:
    """Raise unless a tensor has a shape."""
    if tuple(found.shape) != tuple(expected):
        raise AssertionError(
            f"{subject}: expected shape {tuple(expected)}; got {tuple(found.shape)}."
        )
