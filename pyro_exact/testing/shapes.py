"""Laws of the shapes of batches and events."""

from __future__ import annotations

import torch

from pyro_exact.testing.law import agree, always, conditional, fresh, has_shape, law
from pyro_exact.testing.trial import ROWS, Trial

Batch = tuple[int, ...]


@law(always)
def shapes_are_as_announced(trial: Trial) -> None:
    """The shape of an output is that of ``forward_shape``, with the dimensions of ``codomain``."""
    y, _ = trial.bound.forward_and_ladj(trial.x)
    x, _ = trial.bound.inverse_and_ladj(trial.outputs(ROWS))
    has_shape("an output", y, (ROWS, *trial.output_shape))
    has_shape("an inverse", x, (ROWS, *trial.event_shape))

    found = trial.layer.codomain.event_dim
    expected = len(trial.output_shape)
    if found != expected:
        raise AssertionError(f"codomain.event_dim: expected {expected}; got {found}.")


@law(always)
def batches_have_any_shape(trial: Trial) -> None:
    """A batch may have any number of dimensions, or none."""
    for batch in ((), (3,), (3, 4)):
        _both_ways(trial, batch)


@law(always)
def batches_may_be_empty(trial: Trial) -> None:
    """A batch may be empty."""
    for batch in ((0,), (2, 0)):
        _both_ways(trial, batch)


def _both_ways(trial: Trial, batch: Batch) -> None:
    x = trial.inputs(*batch).requires_grad_()
    t = trial.given(trial.contexts(*batch))
    y = t(x)
    ladj = t.log_abs_det_jacobian(x, y)
    has_shape("an output", y, (*batch, *trial.output_shape))
    has_shape("the ladj", ladj, batch)

    agree(
        f"the inverse of a batch {batch}",
        t.inv(fresh(y)),
        x.detach(),
    )

    total = y.sum() + ladj.sum()
    (gradient,) = torch.autograd.grad(total, x)
    has_shape("a gradient", gradient, x.shape)


@law(conditional)
def batches_of_input_and_context_broadcast(trial: Trial) -> None:
    """The batch shapes of input and context broadcast."""
    for batch, contexts in (
        ((3, 4), ()),
        ((3, 4), (4,)),
        ((), (3,)),
        ((4,), (3, 1)),
        ((1, 4), (3, 1)),
    ):
        _broadcasts(trial, batch, contexts)


def _broadcasts(trial: Trial, batch: Batch, contexts: Batch) -> None:
    """Raise unless broadcasting agrees with inputs and contexts that are expanded first."""
    x = trial.inputs(*batch)
    context = trial.contexts(*contexts)
    common = torch.broadcast_shapes(batch, contexts)

    x_whole = x.expand(*common, *trial.event_shape)
    context_whole = None
    if context is not None:
        context_whole = context.expand(*common, -1)
    whole = trial.given(context_whole)
    expected, ladj = whole.forward_and_ladj(x_whole)

    t = trial.given(context)
    y = t(x)
    subject = f"of inputs {batch} with contexts {contexts}"
    agree(f"the output {subject}", y, expected)
    agree(f"the ladj {subject}", t.log_abs_det_jacobian(x, y), ladj)
    agree(f"the inverse {subject}", t.inv(fresh(y)), x_whole)
