"""Laws of float32, autocast and compilation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_exact.testing.law import agree, always, law
from pyro_exact.testing.trial import ROWS, Trial
from pyro_exact.transforms.compiled import compiled


@law(always)
def float32_is_close_to_float64(trial: Trial) -> None:
    """In float32 both directions are accurate to 1e-4 of their largest element."""
    y, ladj = trial.bound.forward_and_ladj(trial.x)
    single = trial.in_float32()
    found, ladj_found = single.bound.forward_and_ladj(single.x)
    back, ladj_back = single.bound.inverse_and_ladj(found)

    _close("the output", found, y)
    _close("the ladj", ladj_found, ladj)
    _close("the inverse", back, trial.x)
    _close("the ladj of the inverse", ladj_back, -ladj)


@law(always)
def autocast_leaves_the_formula_in_float32(trial: Trial) -> None:
    """Under bfloat16 autocast networks may round, but both directions agree to float32."""
    single = trial.in_float32()
    with torch.autocast("cpu", torch.bfloat16):
        y, ladj = single.bound.forward_and_ladj(single.x)
        back, ladj_back = single.bound.inverse_and_ladj(y)

    _close("the inverse", back, single.x)
    _close("the ladj of the inverse", ladj_back, -ladj)
    for name, value in (("the output", y), ("the ladj", ladj)):
        _is_float32(name, value)


def _close(subject: str, found: Tensor, expected: Tensor) -> None:
    _is_float32(subject, found)
    largest = expected.double().abs().amax()
    scale = largest.clamp(min=1)
    agree(
        f"{subject}, divided by the largest",
        found.double() / scale,
        expected.double() / scale,
        1e-4,
    )


def _is_float32(subject: str, value: Tensor) -> None:
    if value.dtype != torch.float32:
        raise AssertionError(f"{subject}: expected float32; got {value.dtype}.")


@law(always)
def forward_compiles_into_one_graph(trial: Trial) -> None:
    """``torch.compile(layer.forward_and_ladj, fullgraph=True)`` works."""
    _traces(trial.layer.forward_and_ladj, trial.x, trial.context)


@law(always)
def inverse_compiles_into_one_graph(trial: Trial) -> None:
    """``torch.compile(layer.inverse_and_ladj, fullgraph=True)`` works."""
    _traces(trial.layer.inverse_and_ladj, trial.outputs(ROWS), trial.context)


def _traces(
    direction: Callable[..., tuple[Tensor, Tensor]],
    source: Tensor,
    context: Tensor | None,
) -> None:
    # torch keeps a few graphs of a function and refuses more, and here each layer needs another.
    torch.compiler.reset()

    # The eager backend traces the graph without compiling it, which would take seconds.
    traced = compiled(direction, backend="eager", fullgraph=True)
    found, ladj_found = traced(source, context)
    expected, ladj = direction(source, context)

    agree("the compiled output", found, expected)
    agree("the compiled ladj", ladj_found, ladj)
