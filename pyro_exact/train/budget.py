"""The budget of a run in steps or minutes, and the learning rate, which depends on it."""

from __future__ import annotations

import math

from pyro_exact.recipes import Training


def budget_fraction(training: Training, step: int, seconds: float) -> float:
    """Return the fraction of the budget that is used: of steps or of minutes, whichever is larger.

    Args:
        training: Settings with the budget.
        step: Optimiser steps taken.
        seconds: Training time.
    """
    steps = step / training.steps
    if training.minutes is None:
        return steps
    return max(steps, seconds / (60 * training.minutes))


def learning_rate_factor(training: Training, step: int, seconds: float) -> float:
    """Return the factor on the peak learning rate: linear warm-up, then decay over the budget."""
    warmup = 1.0
    if training.warmup_steps:
        warmup = min(1.0, (step + 1) / training.warmup_steps)
    if training.decay == "constant":
        return warmup

    used = min(1.0, budget_fraction(training, step, seconds))
    return warmup * 0.5 * (1 + math.cos(math.pi * used))
