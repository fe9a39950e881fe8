"""Metadata and learning curve of a training run, as stored in checkpoints and result records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, prod
from typing import Any

import torch

from pyro_exact.checks import check_number, check_size, shown
from pyro_exact.data import load
from pyro_exact.provenance import commit, today
from pyro_exact.recipes import Recipe
from pyro_exact.recipes.parsing import parse_kwargs
from pyro_exact.recipes.plain import plain
from pyro_exact.recipes.recipe import check_image
from pyro_exact.recipes.training import MOST_STEPS
from pyro_exact.train.device import CLOCKS
from pyro_exact.train.evaluate import Evaluation

CURVE_EVERY = 10  # steps in each mean of the training curve
LARGEST_SEED = 2**32 - 1  # the limit of NumPy, which Pyro seeds too
MOST_VALUES = 2**26  # values in the record of a checkpoint; most belong to its curve


@dataclass
class RunRecord:
    """Everything that a checkpoint holds besides tensors and the state of Lightning.

    This record is made by `fit`. While a run trains, `TrainingModule` alone changes it, by the
    methods `add_step`, `add_validation` and `continue_from` and the attribute ``seconds``;
    callbacks and commands read it.

    Attributes:
        recipe: The model, and the settings of the training.
        shape: (C, H, W) of the images.
        levels: Levels of a pixel.
        data: Description of the images: name, shape and the size of each split.
        seed: Seed of the weights, the order of the images and the noise.
        hardware: Name of the device.
        source: Arguments of `pyro_exact.data.load` that load these images again; `None` for images
            that came from elsewhere.
        commit: Commit of the checkout that contains this package.
        torch_version: Version of torch.
        step: Optimiser steps taken.
        seconds: Training time, including validation.
        clock: The clock of ``seconds``: ``"computing"`` or ``"wall"``; see `Training`.
        curve: ``train`` and ``valid``: lists of (step, seconds, bits/dim).
        recent: Losses of the last steps, which are not in the curve yet.
    """

    recipe: Recipe
    shape: tuple[int, int, int]
    levels: int
    data: str
    seed: int
    hardware: str
    source: Mapping[str, Any] | None = None
    commit: str = field(default_factory=commit)
    torch_version: str = str(torch.__version__)
    step: int = 0
    seconds: float = 0.0
    clock: str = "wall"
    # Annotated loosely, because jsonargparse would take minutes to check a long curve.
    curve: Mapping[str, Any] = field(default_factory=lambda: {"train": [], "valid": []})
    recent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_image(self.shape, self.levels, "a run")
        check_size("a run", "seed", self.seed, least=0, most=LARGEST_SEED)
        check_size("a run", "step", self.step, least=0, most=MOST_STEPS)
        check_number("a run", "seconds", self.seconds, least=0)
        if self.clock not in CLOCKS:
            raise ValueError(
                f"a run expects clock as one of {', '.join(CLOCKS)}; got {shown(self.clock)}. "
                f"Choose one."
            )

    # Training
    # ----------------------------------------------------------------------------------------------

    def add_step(self, step: int, loss: float) -> None:
        """Add the loss of a step; every tenth step, add the mean of the last ten to the curve."""
        self.step = step
        self.recent.append(loss)
        if step % CURVE_EVERY == 0:
            mean = sum(self.recent) / len(self.recent)
            self.curve["train"].append([step, self.seconds, mean])
            self.recent.clear()

    def add_validation(self, step: int, bits_per_dim: float) -> None:
        """Add a validation loss to the curve."""
        self.curve["valid"].append([step, self.seconds, bits_per_dim])

    def continue_from(self, earlier: RunRecord) -> None:
        """Take over the progress of the run that is continued."""
        self.step, self.seconds = earlier.step, earlier.seconds
        self.curve, self.recent = earlier.curve, earlier.recent

    def validation_loss(self, step: int) -> float | None:
        """Return the validation loss at a step, if this was the last validation."""
        points = self.curve["valid"]
        return points[-1][2] if points and points[-1][0] == step else None

    # Plain values
    # ----------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: object, source: str) -> RunRecord:
        """Check plain values, and make a run record using these values.

        Args:
            values: Values from a checkpoint.
            source: Name of the values, used in an error.

        Raises:
            ValueError: On an unknown or missing key, or a value of another type.
        """
        copy = plain(values, source, MOST_VALUES)
        if isinstance(copy, dict):
            _check_curve(copy.get("curve", {"train": [], "valid": []}), f"{source}: curve")
            _check_losses(copy.get("recent", []), f"{source}: recent")
            if copy.get("source") is not None:
                parse_kwargs(load, copy["source"], f"{source}: source", leave_out=["download"])

        checked = parse_kwargs(cls, copy, source)
        try:
            return cls(**checked)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        shape, recipe = list(self.shape), self.recipe.to_dict()
        return {**dataclasses.asdict(self), "shape": shape, "recipe": recipe}

    def result(self, data: Mapping[str, Any], score: Evaluation, parameters: int) -> dict[str, Any]:
        """Return the record of a result: a score, and everything that produced it.

        `docs/results` keeps such records. The curve, ``valid``, holds (step, seconds, loss) of each
        validation, in the unit of the metric.

        Args:
            data: ``name``, ``split`` and ``images``, a count of the scored images; optional: a
                ``note``.
            score: The score of these images.
            parameters: How many parameters were trained.
        """
        recipe = self.recipe.to_dict()
        unit = self.recipe.paper.unit if self.recipe.paper else "bits/dim"
        return {
            "recipe": self.recipe.name,
            "model": recipe["model"]["name"],
            "settings": recipe["model"],
            "training": recipe["training"],
            "paper": recipe["paper"],
            "commit": self.commit,
            "seed": self.seed,
            "data": dict(data),
            "hardware": self.hardware,
            "torch": self.torch_version,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "clock": self.clock,
            "parameters": parameters,
            "metric": score.metric(unit),
            "valid": self._validation_curve(unit),
            "ema": self.recipe.training.ema_decay is not None,
            "date": today(),
        }

    def _validation_curve(self, unit: str) -> list[list[float]]:
        # 1 bit/dim is D log 2 nats an image.
        scale = prod(self.shape) * log(2) if unit == "nats" else 1.0
        return [
            [step, round(seconds, 1), bits * scale] for step, seconds, bits in self.curve["valid"]
        ]


def _check_curve(curve: object, name: str) -> None:
    """Raise ValueError unless a curve is lists of (step, seconds, bits/dim) for both splits."""
    if not isinstance(curve, dict) or {*curve} != {"train", "valid"}:
        raise ValueError(
            f"{name} expects train and valid; got {shown(curve)}. Use another checkpoint."
        )
    for split, points in curve.items():
        if not isinstance(points, list) or not all(_is_point(point) for point in points):
            raise ValueError(
                f"{name}: {split} expects a list of (step, seconds, bits/dim); got "
                f"{shown(points)}. Use another checkpoint."
            )


def _check_losses(recent: object, name: str) -> None:
    if not isinstance(recent, list) or len(recent) >= CURVE_EVERY:
        raise ValueError(
            f"{name} expects a list of fewer than {CURVE_EVERY} losses; got {shown(recent)}. Use "
            f"another checkpoint."
        )


def _is_point(point: Any) -> bool:
    if not isinstance(point, list):
        return False
    kinds = [type(number) for number in point]
    return kinds in ([int, float, float], [int, int, float])
