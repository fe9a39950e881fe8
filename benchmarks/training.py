"""Steps of a training run, timed as it goes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise

import torch
from harness import CLOCK, synchronize

from pyro_exact.data import Images
from pyro_exact.recipes import Recipe
from pyro_exact.train import LAST, fit, load_model


def fit_step(recipe: Recipe, images: Images) -> float:
    """Return the milliseconds of a step of `train.fit`, by its own clock: the median over portions of ten steps."""
    with tempfile.TemporaryDirectory() as folder:
        fit(recipe, images, out=folder, progress=False)
        _, run = load_model(f"{folder}/{LAST}")
    seconds = [second for _, second, _ in run.curve["train"]][1:]
    return 1e3 * statistics.median(b - a for a, b in pairwise(seconds)) / 10


def loop_step(
    step: Callable[[torch.Tensor], object], images: Images, steps: int, batch_size: int
) -> float:
    """Return the milliseconds of a step of a bare loop over shuffled batches, measured in the same way."""
    marks = []
    for i in range(steps):
        if i % 10 == 0:
            synchronize()
            marks.append(CLOCK())
        step(images.train[torch.randint(len(images.train), (batch_size,))])
    return 1e3 * statistics.median(b - a for a, b in pairwise(marks[1:])) / 10
