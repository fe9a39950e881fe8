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
    """A statement, and a function that raises where it does not hold.

    Args:
        check: The function of a trial; its docstring is the statement.
        applies: Whether the statement is one about the subject of a trial.
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
    """Return a decorator that turns a function into a law, for the trials to which it applies."""
    return lambda check: Law(check, applies)


def laws_of(modules: Sequence[ModuleType], trial: Any) -> list[Law[Any]]:
    """Return the laws in some modules that apply to a trial."""
    values = [value for module in modules for value in vars(module).values()]
    return [value for value in values if isinstance(value, Law) and value.applies(trial)]


def check_laws(name: str, laws: Sequence[Law[T]], make_trial: Callable[[], T]) -> None:
    """Check laws, each on a new trial, and raise an error that names all that are broken.

    Args:
        name: Name of the subject, for the error.
        laws: The laws that apply to it.
        make_trial: Makes a trial; the random numbers of each law are those of seed 0.

    Raises:
        AssertionError: If a law is broken.
    """
    broken = []
    for each in laws:
        torch.manual_seed(0)
        try:
            each.check(make_trial())
        except (
            Exception
        ) as error:  # the subject may raise anything; check the next law all the same
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            reason = textwrap.shorten(kind + str(error), 400)
            broken.append(f"- {each.name}: {each.statement}\n    {reason}")

    if broken:
        heading = f"{name} breaks {len(broken)} of {len(laws)} laws:"
        raise AssertionError("\n".join([heading, *broken]))


def always(trial: Any) -> bool:
    """Any trial."""
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
