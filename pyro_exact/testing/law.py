"""The class of laws, the conditions under which they apply, and the comparisons they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.boundary import Shape

Check = Callable[[Trial], None]
Condition = Callable[[Trial], bool]


@dataclass(frozen=True)
class Law:
    """A statement about layers, and a function that raises an error if it does not hold.

    Args:
        check: The function; its docstring is the statement.
        applies: A function that tells whether the statement applies to a layer.
    """

    check: Check
    applies: Condition

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        return (self.check.__doc__ or "").strip()


def law(applies: Condition) -> Callable[[Check], Law]:
    """Return a decorator that makes a function a law, for the layers to which it applies."""
    return lambda check: Law(check, applies)


def always(trial: Trial) -> bool:
    """Apply to any layer."""
    return True


def plain(trial: Trial) -> bool:
    """Apply to layers without a context."""
    return trial.context is None


def conditional(trial: Trial) -> bool:
    """Apply to layers with a context."""
    return trial.context is not None


def learns(trial: Trial) -> bool:
    """Apply to layers with parameters."""
    return bool(trial.weights())


def learns_from_context(trial: Trial) -> bool:
    """Apply to layers with a context and with parameters.

    A layer without parameters may accept a context only to be used among conditional layers.
    """
    return conditional(trial) and learns(trial)


def keeps_shape(trial: Trial) -> bool:
    """Apply to layers whose outputs have the shape of their inputs."""
    return trial.output_shape == trial.event_shape


def agree(subject: str, found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Raise AssertionError unless two tensors are equal up to a tolerance.

    The tolerance is absolute for small elements and relative for large ones.

    Args:
        subject: The value that is compared, for the error.
        found: The actual value.
        expected: The expected value.
        tolerance: The tolerance.
    """
    has_shape(subject, found, expected.shape)
    off = ~torch.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if not off.any():
        return

    difference = (found - expected).abs().nan_to_num(torch.inf)
    worst = torch.where(off, difference, -1.0).argmax()
    wanted = expected.flatten()[worst].item()
    got = found.flatten()[worst].item()
    count, total = int(off.sum()), off.numel()
    raise AssertionError(
        f"{subject}: expected {wanted}; got {got}. "
        f"{count} of {total} elements are off by more than {tolerance}."
    )


def fresh(value: Tensor) -> Tensor:
    """Return a copy of a tensor without a gradient; no cache knows it."""
    return value.detach().clone()


def has_shape(subject: str, found: Tensor, expected: Shape) -> None:
    """Raise AssertionError unless a tensor has a shape."""
    wanted, got = tuple(expected), tuple(found.shape)
    if got != wanted:
        raise AssertionError(f"{subject}: expected shape {wanted}; got {got}.")
