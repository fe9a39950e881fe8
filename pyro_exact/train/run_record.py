"""Metadata and learning curve of a training run, as stored in checkpoints and result records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, prod
from typing import Any

import torch

from pyro_exact.checks import check_number, check_size, check_sizes, shown
from pyro_exact.data import load
from pyro_exact.provenance import commit, today
from pyro_exact.recipes import Paper, Recipe, Training, Unit
from pyro_exact.recipes.parsing import parse_kwargs
from pyro_exact.recipes.plain import plain
from pyro_exact.recipes.training import MOST_STEPS
from pyro_exact.train.curve import CURVE_EVERY, check_curve, check_losses
from pyro_exact.train.device import CLOCKS
from pyro_exact.train.evaluate import Evaluation

MOST_LEVELS = 2**31  # of integer data
LARGEST_SEED = 2**32 - 1  # the limit of NumPy, which Pyro seeds too
MOST_VALUES = 2**26  # values in the record of a checkpoint; most belong to its curve


@dataclass
class RunRecord:
    """Everything that a checkpoint holds besides tensors and the state of Lightning.

    This record is made by `fit`. While a run trains, `TrainingModule` alone changes it, by the
    methods `add_step`, `add_validation` and `continue_from` and the attribute ``seconds``;
    callbacks and commands read it.

    Attributes:
        name: Name of the recipe, or of the class of a model of one's own.
        model: The registered builder and its settings, from which `load_model` rebuilds the model;
            `None` for a model of one's own.
        training: The settings of the training.
        shape: Shape of a row of the data; (C, H, W) of an image.
        levels: Values that an element can take; `None` for real elements.
        unit: Unit of the loss and of the curve.
        dataset: Name of the data set.
        data: Description of the data: name, shape and the size of each split.
        seed: Seed of the weights, the order of the rows and the noise.
        hardware: Name of the device.
        paper: The paper of the recipe.
        source: Arguments of `pyro_exact.data.load` that load these data again; `None` for data that
            came from elsewhere.
        init_from: The checkpoint whose weights the run began with; `None` for new weights.
        commit: Commit of the checkout that contains this package.
        torch_version: Version of torch.
        step: Optimiser steps taken.
        seconds: Training time, including validation.
        clock: The clock of ``seconds``: ``"computing"`` or ``"wall"``; see `Training`.
        curve: ``train`` and ``valid``: lists of (step, seconds, loss).
        recent: Losses of the last steps, which are not in the curve yet.
    """

    name: str
    model: Mapping[str, Any] | None
    training: Training
    shape: tuple[int, ...]
    levels: int | None
    unit: Unit
    dataset: str
    data: str
    seed: int
    hardware: str
    paper: Paper | None = None
    source: Mapping[str, Any] | None = None
    init_from: str | None = None
    commit: str = field(default_factory=commit)
    torch_version: str = str(torch.__version__)
    step: int = 0
    seconds: float = 0.0
    clock: str = "wall"
    # Annotated loosely, because jsonargparse would take minutes to check a long curve.
    curve: Mapping[str, Any] = field(default_factory=lambda: {"train": [], "valid": []})
    recent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_sizes("a run", "shape", self.shape, length=len(self.shape))
        if self.levels is not None:
            check_size("a run", "levels", self.levels, least=2, most=MOST_LEVELS)
        check_size("a run", "seed", self.seed, least=0, most=LARGEST_SEED)
        check_size("a run", "step", self.step, least=0, most=MOST_STEPS)
        check_number("a run", "seconds", self.seconds, least=0)
        if self.clock not in CLOCKS:
            raise ValueError(
                f"a run expects clock as one of {', '.join(CLOCKS)}; got {shown(self.clock)}. "
                f"Choose one."
            )
        if self.model is not None:
            self.recipe  # noqa: B018 (checks the settings of the model)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run; ValueError for a model of one's own."""
        if self.model is None:
            raise ValueError(
                f"A checkpoint of your own model, {self.name}, holds weights and no code; got a "
                f"request for its recipe. Build the model in Python, and call "
                f"train.load_weights(model, path)."
            )
        return Recipe(self.name, self.model, self.dataset, self.training, self.paper)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images; ValueError for other data."""
        if len(self.shape) != 3:
            raise ValueError(
                f"This command expects a model of images; got one of data of shape {self.shape}. "
                f"Use another checkpoint."
            )
        channels, height, width = self.shape
        return channels, height, width

    @property
    def image_levels(self) -> int:
        """Levels of a pixel; ValueError for real elements."""
        if self.levels is None:
            raise ValueError(
                "This command expects a model of images with levels; got one of real elements. Use "
                "another checkpoint."
            )
        return self.levels

    @property
    def nats_of_unit(self) -> float:
        """Nats of a row for 1 in the unit of the loss: D log 2 for bits/dim."""
        return prod(self.shape) * log(2) if self.unit == "bits/dim" else 1.0

    @property
    def reported_unit(self) -> Unit:
        """The unit of the paper of the recipe, or that of the data."""
        return self.unit if self.paper is None else self.paper.unit

    def reported(self, loss: float) -> float:
        """Return a loss in the unit that is reported."""
        if self.reported_unit == self.unit:
            return loss

        per_bit = prod(self.shape) * log(2)
        return loss * per_bit if self.reported_unit == "nats" else loss / per_bit

    # Training
    # ----------------------------------------------------------------------------------------------

    def add_step(self, step: int, loss: float) -> float | None:
        """Add the loss of a step; every tenth step, add the mean of the last ten to the curve.

        Returns:
            The mean that was added to the curve, if any.
        """
        self.step = step
        self.recent.append(loss)
        if step % CURVE_EVERY:
            return None

        mean = sum(self.recent) / len(self.recent)
        self.curve["train"].append([step, self.seconds, mean])
        self.recent.clear()
        return mean

    def add_validation(self, step: int, loss: float) -> None:
        """Add a validation loss to the curve."""
        self.curve["valid"].append([step, self.seconds, loss])

    def is_stuck(self) -> bool:
        """Return whether the last validations, ``training.patience`` of them, found no new best."""
        losses = [loss for _, _, loss in self.curve["valid"]]
        if self.training.patience is None or not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self.training.patience

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
            check_curve(copy.get("curve", {"train": [], "valid": []}), f"{source}: curve")
            check_losses(copy.get("recent", []), f"{source}: recent")
            if copy.get("source") is not None:
                parse_kwargs(load, copy["source"], f"{source}: source", leave_out=["download"])

        checked = parse_kwargs(cls, copy, source)
        try:
            return cls(**checked)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = dataclasses.asdict(self)
        values["shape"] = list(self.shape)
        values["training"]["betas"] = list(self.training.betas)
        return values

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
        values, model = self.to_dict(), self.model or {"name": self.name}
        return {
            "recipe": self.name,
            "model": model["name"],
            "settings": dict(model),
            "training": values["training"],
            "paper": values["paper"],
            **({} if self.init_from is None else {"init_from": self.init_from}),
            "commit": self.commit,
            "seed": self.seed,
            "data": dict(data),
            "hardware": self.hardware,
            "torch": self.torch_version,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "clock": self.clock,
            "parameters": parameters,
            "metric": score.metric(self.reported_unit),
            "valid": [
                [step, round(seconds, 1), self.reported(loss)]
                for step, seconds, loss in self.curve["valid"]
            ],
            "ema": self.training.ema_decay is not None,
            "date": today(),
        }
