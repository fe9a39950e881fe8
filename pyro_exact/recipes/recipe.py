"""A recipe: a paper's model, its settings and its number, in one YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pyro_exact.checks import check_size, check_sizes
from pyro_exact.recipes.limits import LARGEST_MODEL, Limits, is_out_of_memory
from pyro_exact.recipes.parsing import check_name, parse_kwargs
from pyro_exact.recipes.plain import plain
from pyro_exact.recipes.training import Training

if TYPE_CHECKING:
    from pyro_exact.models import GenerativeModel

# The name, the paper and the training of a recipe are read without torch, whose import takes
# seconds: the models that it can name are imported by the methods that use them.

Unit = Literal["bits/dim", "nats"]
LARGEST_IMAGE = 2**22  # numbers of one image: a larger one is a mistake, or an attack
MOST_LEVELS = 2**16


@dataclass(frozen=True)
class Paper:
    """Where a recipe comes from, and the number to compare with.

    Attributes:
        reference: Authors, year, title, table.
        value: The paper's number on the test set; `None` where it gives none.
        unit: ``"bits/dim"`` or ``"nats"``.
        budget: What the paper's number took.
    """

    reference: str
    value: float | None = None
    unit: Unit = "bits/dim"
    budget: str = ""


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained: all that a checkpoint needs to rebuild it.

    Attributes:
        name: Name of the recipe.
        model: ``{"name": ..., setting: value, ...}``; the name is one of `recipes.models.MODELS`,
            the settings are the arguments of its builder. A recipe names no other code, so one from
            an unknown source can do no harm. Of a flow, ``noise`` holds settings of
            `flows.flow_pp_dequantizer`; none is uniform noise. A flow that has a ``context_dim`` is
            class-conditional with as many classes.
        data: Name of the data set the recipe was made for.
        training: See `Training`.
        paper: See `Paper`.
    """

    name: str
    model: Mapping[str, Any]
    data: str
    training: Training = field(default_factory=Training)
    paper: Paper | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a recipe")
        self._settings()

    @classmethod
    def from_dict(cls, values: object, source: str) -> Recipe:
        """Check plain values, and make a recipe of them.

        Args:
            values: As read from YAML, or from a checkpoint.
            source: What to call them in an error.

        Raises:
            ValueError: On an unknown, missing or ill-typed key, with the nearest known name.
        """
        return cls(**parse_kwargs(cls, plain(values, source), source))

    def changed(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other settings where they are given; raise ValueError as `from_dict`."""
        values = self.to_dict()
        values["model"] |= model
        values["training"] |= training
        return Recipe.from_dict(values, f"recipe {self.name}")

    def filled(self) -> Recipe:
        """Return the recipe with the defaults of its model written out, which later versions may change."""
        from pyro_exact.recipes.models import with_defaults

        return dataclasses.replace(self, model=with_defaults(self.model))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for YAML, JSON or a checkpoint."""
        values = dataclasses.asdict(self)
        values["training"]["betas"] = list(self.training.betas)
        return values

    def build(
        self,
        shape: tuple[int, int, int],
        levels: int,
        limits: Limits = LARGEST_MODEL,
        check: Callable[[GenerativeModel], object] = lambda model: None,
    ) -> GenerativeModel:
        """Return the model for images of ``shape`` (C, H, W) with that many pixel levels.

        Args:
            shape: Of one image.
            levels: Number of pixel levels.
            limits: What building it may take.
            check: Called with the model before its weights have memory, to refuse it by their
                shapes.

        Raises:
            ValueError: If the model does not fit that shape, or takes more than it may, before it
                does.
        """
        from pyro_exact.recipes.allowance import build_within
        from pyro_exact.recipes.models import MODELS

        source = f"recipe {self.name}"
        shape = check_image(shape, levels, source)
        build, settings = MODELS[self.model["name"]].build, self._settings()
        try:
            return build_within(lambda: build(shape, levels, **settings), source, limits, check)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            # A builder checks its arguments one by one, and not whatever torch has against all of
            # them together.
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{source} does not build a model of images of shape {shape}: {reason}. Change its settings."
            ) from error

    def _settings(self) -> dict[str, Any]:
        from pyro_exact.recipes.models import parse_settings

        return parse_settings(self.model, f"recipe {self.name}: model")


def check_image(shape: object, levels: object, source: str) -> tuple[int, int, int]:
    """Return the shape of an image, if it and the number of its levels are possible; raise ValueError if not."""
    channels, height, width = check_sizes(source, "shape", shape, length=3)
    check_size(source, "levels", levels, least=2, most=MOST_LEVELS)
    if channels * height * width > LARGEST_IMAGE:
        raise ValueError(
            f"{source} expects images of at most {LARGEST_IMAGE} numbers; got {channels} x {height} x {width}. Scale "
            f"them down."
        )
    return channels, height, width
