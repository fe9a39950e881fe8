"""The laws that a component must obey, conditions under which they apply, and helpers to write them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pyro_exact.testing.trial import Trial
from pyro_exact.transforms.boundary import Shape

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Law(Generic[Subject]):
    """A statement about a component under test, and a function that raises an error if it is false.

    Args:
        check: The function; its docstring is the statement.
        applies: Returns whether the statement applies to a component.
    """

    check: Callable[[Subject], None]
    applies: Callable[[Subject], bool]

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        return (self.check.__doc__ or "").strip()


def law(applies: Callable[[Any], bool]) -> Callable[[Callable[[Subject], None]], Law[Subject]]:
    """Decorate a function as a law, for the components to which it applies."""
    return lambda check: Law(check, applies)


def check_laws(name: str, laws: Sequence[Law[Subject]], trial: Callable[[], Subject]) -> None:
    """Check each law on a new trial; raise an AssertionError that names all laws that are broken.

    Args:
        name: Name of the component in the error.
        laws: The laws that apply.
        trial: Makes a trial.
    """
    broken = []
    for each in laws:
        torch.manual_seed(0)
        try:
            each.check(trial())
        except Exception as error:  # a component may raise any error; check the next law anyway
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            message = textwrap.shorten(kind + str(error), 400)
            broken.append(f"- {each.name}: {each.statement}\n    {message}")

    if broken:
        counts = f"{len(broken)} of {len(laws)} laws"
        raise AssertionError("\n".join([f"{name} breaks {counts}:", *broken]))


def always(trial: object) -> bool:
    """Any component."""
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
