"""Laws: statements about layers, networks or likelihoods that can be checked."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.boundary import Shape

T = TypeVar("T")


@dataclass(frozen=True)
class Law(Generic[T]):
    """A statement, and a function that raises an error if it does not hold.

    Args:
        check: The function of a trial; the docstring is the statement.
        applies: A function that returns whether the statement applies to the subject of a trial.
    """

    check: Callable[[T], None]
    applies: Callable[[T], bool]

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        return (self.check.__doc__ or "").strip()


def law(applies: Callable[[T], bool]) -> Callable[[Callable[[T], None]], Law[T]]:
    """Return a decorator that turns a function into a law of some type of trials."""
    return lambda check: Law(check, applies)


def laws_of(modules: Sequence[ModuleType], trial: Any) -> list[Law[Any]]:
    """Return the laws in some modules that apply to a trial."""
    found = []
    for module in modules:
        found += [value for value in vars(module).values() if isinstance(value, Law)]
    return [law for law in found if law.applies(trial)]


def check_laws(name: str, laws: Sequence[Law[T]], make_trial: Callable[[], T]) -> None:
    """Check laws, each on a new trial, and raise an error that names all that are broken.

    Args:
        name: Name of the subject, for the error.
        laws: The laws that apply to it.
        make_trial: A function that returns a new trial; each law starts with seed 0.

    Raises:
        AssertionError: If a law is broken.
    """
    broken = []
    for each in laws:
        torch.manual_seed(0)
        try:
            each.check(make_trial())
        except Exception as error:
            # The subject may raise any error: the next law is checked all the same.
            broken.append(f"- {each.name}: {each.statement}\n    {_reason(error)}")

    if broken:
        heading = f"{name} breaks {len(broken)} of {len(laws)} laws:"
        raise AssertionError("\n".join([heading, *broken]))


def _reason(error: Exception) -> str:
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return textwrap.shorten(kind + str(error), 400)


def always(trial: Any) -> bool:
    """Apply to any trial."""
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

    A layer without parameters may accept a context only because other layers use this context.
    """
    return conditional(trial) and learns(trial)


def keeps_shape(trial: Trial) -> bool:
    """Apply to layers whose outputs have the shape of their inputs."""
    return trial.output_shape == trial.event_shape


def agree(
    subject: str,
    found: Tensor,
    expected: Tensor,
    tolerance: float = 1e-8,
) -> None:
    """Raise AssertionError unless two tensors are equal up to a tolerance.

    The tolerance is absolute for small elements and relative for large ones.

    Args:
        subject: The value that is compared, for the error.
        found: The actual value.
        expected: The expected value.
        tolerance: The tolerance.
    """
    has_shape(subject, found, expected.shape)
    off = ~torch.isclose(
        found,
        expected,
        rtol=tolerance,
        atol=tolerance,
        equal_nan=True,
    )
    if not off.any():
        return

    difference = (found - expected).abs().nan_to_num(torch.inf)
    worst = torch.where(off, difference, -1.0).argmax()
    wanted = expected.flatten()[worst].item()
    got = found.flatten()[worst].item()
    count = int(off.sum())
    total = off.numel()
    raise AssertionError(
        f"{subject}: expected {wanted}; got {got}. "
        f"{count} of {total} elements are off by more than {tolerance}."
    )


def fresh(value: Tensor) -> Tensor:
    """Return a copy of a tensor without a gradient; no cache knows it."""
    return value.detach().clone()


def has_shape(subject: str, found: Tensor, expected: Shape) -> None:
    """Raise AssertionError unless a tensor has a shape."""
    wanted = tuple(expected)
    got = tuple(found.shape)
    if got != wanted:
        raise AssertionError(f"{subject}: expected shape {wanted}; got {got}.")
