"""Laws of the samples of a model."""

from __future__ import annotations

import torch

from pyro_exact.testing.law import agree, always, has_shape, law
from pyro_exact.testing.model.trial import ModelTrial


@law(always)
def samples_are_like_the_data(trial: ModelTrial) -> None:
    """`sample` returns n data (also for n = 0) that `check` accepts and `log_weight` scores."""
    event_shape = trial.x.shape[1:]
    has_shape("sample(0)", trial.model.sample(0), (0, *event_shape))

    x = trial.model.sample(2)
    has_shape("sample(2)", x, (2, *event_shape))
    if x.requires_grad:
        raise AssertionError("sample(2): expected data without gradient; got requires_grad.")

    trial.model.check(x)
    scores = trial.log_weights(x)
    if not scores.isfinite().all():
        raise AssertionError(f"log_weight(sample(2)): expected finite scores; got {scores}.")


@law(always)
def samples_repeat_with_the_seed(trial: ModelTrial) -> None:
    """The random numbers of a sample are those of torch, so that a seed repeats it."""
    torch.manual_seed(1)
    first = trial.model.sample(2)
    torch.manual_seed(1)
    agree(
        "sample(2) with the same seed",
        trial.model.sample(2).double(),
        first.double(),
        0,
    )


@law(always)
def samples_differ(trial: ModelTrial) -> None:
    """Samples are drawn independently, so several are not all equal."""
    x = trial.model.sample(16)
    if (x == x[:1]).all():
        raise AssertionError(f"sample(16): expected different samples; got {x[0]} each time.")
