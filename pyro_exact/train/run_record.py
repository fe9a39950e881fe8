"""What a run says of itself: in its checkpoints, and in the records that are made from them."""

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

CURVE_EVERY = 10  # steps of which the curve has the mean
LARGEST_SEED = 2**32 - 1  # of NumPy, which Pyro seeds too
MOST_VALUES = 2**26  # in what a run says of itself; most are its curve


@dataclass
class RunRecord:
    """All that a checkpoint holds beside tensors and what Lightning needs.

    Attributes:
        recipe: The model, and how it is trained.
        shape: (C, H, W) of the images.
        levels: Number of pixel levels.
        data: The images in words: name, shape and the size of each split.
        seed: Of the weights, the order of the images and the noise.
        hardware: Where it ran.
        source: Arguments of `pyro_exact.data.load` that give these images again, where they came
            from there.
        commit: Of the checkout that this package is in.
        torch_version: Version of torch.
        step: Optimiser steps taken.
        seconds: Time of the training, with its looks at the validation split.
        clock: What measures it: ``"computing"`` or ``"wall"``; see `Training`.
        curve: ``train`` and ``valid``: lists of (step, seconds, bits/dim).
        recent: Losses of the last steps, which the curve does not have yet.
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
    curve: Mapping[str, Any] = (
        field(  # of lists of lists; jsonargparse would take minutes to check a long one
            default_factory=lambda: {"train": [], "valid": []}
        )
    )
    recent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_image(self.shape, self.levels, "a run")
        check_size("a run", "seed", self.seed, least=0, most=LARGEST_SEED)
        check_size("a run", "step", self.step, least=0, most=MOST_STEPS)
        check_number("a run", "seconds", self.seconds, least=0)
        if self.clock not in CLOCKS:
            raise ValueError(
                f"a run expects clock as one of {', '.join(CLOCKS)}; got {shown(self.clock)}. Choose one."
            )

    @classmethod
    def from_dict(cls, values: object, source: str) -> RunRecord:
        """Check plain values, and make a run of them; raise ValueError as `Recipe.from_dict`."""
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
        return {
            **dataclasses.asdict(self),
            "shape": list(self.shape),
            "recipe": self.recipe.to_dict(),
        }

    def record(self, data: Mapping[str, Any], score: Evaluation, parameters: int) -> dict[str, Any]:
        """Return the record of the run, as `docs/results` keeps them.

        Its curve, ``valid``, holds (step, seconds, loss) of each look at the validation split, in
        the metric's unit.

        Args:
            data: ``name``, ``split`` and ``images``, the number of images scored; perhaps a
                ``note``.
            score: Of these images.
            parameters: Number of trained numbers.
        """
        recipe = self.recipe.to_dict()
        unit = self.recipe.paper.unit if self.recipe.paper else "bits/dim"
        per_bit = prod(self.shape) * log(2) if unit == "nats" else 1.0
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
            "valid": [
                [step, round(seconds, 1), bits * per_bit]
                for step, seconds, bits in self.curve["valid"]
            ],
            "ema": self.recipe.training.ema_decay is not None,
            "date": today(),
        }


def _check_curve(curve: object, name: str) -> None:
    """Raise ValueError unless a curve is lists of (step, seconds, bits/dim) of both splits."""
    if not isinstance(curve, dict) or {*curve} != {"train", "valid"}:
        raise ValueError(
            f"{name} expects train and valid; got {shown(curve)}. Use another checkpoint."
        )
    for split, points in curve.items():
        if not isinstance(points, list) or not all(_is_point(point) for point in points):
            raise ValueError(
                f"{name}: {split} expects a list of (step, seconds, bits/dim); got {shown(points)}. Use another "
                f"checkpoint."
            )


def _check_losses(recent: object, name: str) -> None:
    if not isinstance(recent, list) or len(recent) >= CURVE_EVERY:
        raise ValueError(
            f"{name} expects a list of fewer than {CURVE_EVERY} losses; got {shown(recent)}. Use another checkpoint."
        )


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and [type(number) for number in point] in (
        [int, float, float],
        [int, int, float],
    )
