"""Laws of the arguments that a layer refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyro_exact.testing.law import agree, always, conditional, fresh, has_shape, law, plain
from pyro_exact.testing.trial import ROWS, Trial, within
from pyro_exact.transforms.bijection import Bijection


@law(always)
def a_wrong_event_works_or_is_refused(trial: Trial) -> None:
    """An event of another shape raises a ValueError, or is transformed according to this shape."""
    draw_output = within(trial.layer.codomain)
    for shape, t, draw in (
        (trial.event_shape, trial.bound, trial.draw),
        (trial.output_shape, trial.bound.inv, draw_output),
    ):
        for axis, size in enumerate(shape):
            for wrong in (1, size + 1):  # a dimension of size 1 might broadcast
                event = (*shape[:axis], wrong, *shape[axis + 1 :])
                _works_or_is_refused(t, draw, (ROWS, *event))


def _works_or_is_refused(
    t: Bijection, draw: Callable[[tuple[int, ...]], Tensor], wanted: tuple[int, ...]
) -> None:
    try:
        x = draw(wanted).double()  # a support may refuse the shape as well
        y = t(x)
    except ValueError:
        return

    shape = tuple(x.shape)
    has_shape(f"the output for {shape}", y, t.forward_shape(x.shape))
    agree(f"the inverse for {shape}", t.inv(fresh(y)), x)


@law(always)
def too_few_dimensions_are_refused(trial: Trial) -> None:
    """A tensor with fewer dimensions than an event raises a ValueError."""
    x = trial.inputs()[..., 0]
    y = trial.outputs()[..., 0]

    _refused("the layer, without an event dimension", partial(trial.bound, x))
    _refused("its inverse, without an event dimension", partial(trial.bound.inv, y))


@law(always)
def integers_are_refused(trial: Trial) -> None:
    """A tensor that is not floating-point raises a TypeError."""
    for dtype in (torch.int64, torch.uint8, torch.bool):
        for name, direction, source in trial.directions():
            call = partial(direction, source.to(dtype))
            _refused(f"{name} of {dtype}", call, TypeError)


@law(conditional)
def a_missing_or_misshapen_context_is_refused(trial: Trial) -> None:
    """No context, or a context of another size or batch, raises a ValueError."""
    layer = trial.layer
    x = trial.x
    y = trial.outputs(ROWS)
    larger = torch.zeros(ROWS, 1000, dtype=torch.float64)

    _refused("layer(x) without a context", partial(layer, x))
    _refused("layer.inv(y) without a context", partial(layer.inv, y))
    _refused("layer.condition with a context too large", partial(layer.condition, larger))

    for direction, source in ((layer.forward_and_ladj, x), (layer.inverse_and_ladj, y)):
        name = direction.__name__
        _refused(f"{name} without a context", partial(direction, source))
        _refused(f"{name} with a context too large", partial(direction, source, larger))

        more = partial(direction, source, trial.contexts(ROWS + 1))
        _refused(f"{name} with a context of another batch", more)


@law(conditional)
def a_context_that_is_no_tensor_is_refused(trial: Trial) -> None:
    """A list as context, and nothing for ``condition``, raise a TypeError."""
    layer = trial.layer
    x = trial.x
    y = trial.outputs(ROWS)
    numbers: Any = [1.0, 2.0]
    nothing: Any = None

    for context in (numbers, nothing):
        _refused(f"layer.condition({context})", partial(layer.condition, context), TypeError)
    for direction, source in ((layer.forward_and_ladj, x), (layer.inverse_and_ladj, y)):
        call = partial(direction, source, numbers)
        _refused(f"{direction.__name__} with a list", call, TypeError)


@law(plain)
def a_superfluous_context_is_refused(trial: Trial) -> None:
    """A context for a method of a plain layer raises a ValueError."""
    context = torch.zeros(ROWS, 2)
    for name, direction, source in trial.directions():
        call = partial(direction, source, context)  # type: ignore[call-arg]
        _refused(f"{name} with a context", call)


def _refused(
    subject: str,
    call: Callable[[], object],
    expected: type[Exception] = ValueError,
) -> None:
    """Raise AssertionError unless a call raises the expected error."""
    try:
        call()
    except expected:
        return
    except Exception as error:
        raise AssertionError(
            f"{subject}: expected a {expected.__name__}; got {type(error).__name__}: {error}"
        ) from error

    raise AssertionError(f"{subject}: expected a {expected.__name__}; got a result.")
