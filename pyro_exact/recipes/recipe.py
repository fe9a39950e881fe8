"""A recipe: a model and the training of this model, with the result of the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from pyro_exact.checks import check_size, check_sizes
from pyro_exact.recipes.limits import LARGEST_MODEL, Limits, is_out_of_memory
from pyro_exact.recipes.parsing import check_name, parse_kwargs
from pyro_exact.recipes.plain import plain
from pyro_exact.recipes.training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Dataset
    from pyro_exact.models import GenerativeModel

# A list of recipes must not import torch, which takes seconds. Therefore the methods that build a
# model import the table of models themselves.

Unit = Literal["bits/dim", "nats"]
LARGEST_EVENT = 2**22  # elements of a row; a larger image is a mistake or an attack
MOST_LEVELS = 2**16


@dataclass(frozen=True)
class Paper:
    """The paper of a recipe, and the result to compare with.

    Attributes:
        reference: Authors, year, title, table.
        value: Result on the test set; `None` if the paper reports none.
        unit: ``"bits/dim"`` or ``"nats"``.
        budget: Training budget of this result.
    """

    reference: str
    value: float | None = None
    unit: Unit = "bits/dim"
    budget: str = ""


@dataclass(frozen=True)
class Recipe:
    """A model and the settings used to train it. A checkpoint rebuilds the model using the recipe.

    Attributes:
        name: Name of the recipe.
        model: ``{"name": ..., setting: value, ...}``. The name must be in `recipes.models.MODELS`
            or registered (see `recipes.register`), and the settings are the arguments of the
            builder. A recipe cannot name any other code,
            so a recipe from an unknown source is safe to load. For a flow, ``noise`` holds settings
            of `flows.flow_pp_dequantizer`; the default is uniform noise. When a flow has a
            ``context_dim``, the model is class-conditional, and this is the count of classes; with
            ``classes: auto`` it is taken from the labels of the data.
        data: Name of the data set used by the recipe.
        training: See `Training`.
        paper: See `Paper`.
        levels: Levels of a pixel, if fewer than the data have, as in `pyro_exact.data.load`.
    """

    name: str
    model: Mapping[str, Any]
    data: str
    training: Training = field(default_factory=Training)
    paper: Paper | None = None
    levels: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a recipe")
        self._settings()

    @classmethod
    def from_dict(cls, values: object, source: str) -> Recipe:
        """Return a recipe from plain values, as read from YAML or from a checkpoint.

        Args:
            values: The values.
            source: Name of the values in an error.

        Raises:
            ValueError: If a key is unknown, with the closest known name, if a key is missing, or
                has a value of another type.
        """
        return cls(**parse_kwargs(cls, plain(values, source), source))

    def changed(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some settings replaced; raise ValueError as `from_dict`."""
        values = self.to_dict()
        values["model"] |= model
        values["training"] |= training
        return Recipe.from_dict(values, f"recipe {self.name}")

    def for_classes(self, labels: Tensor | None) -> Recipe:
        """Return the recipe with the number of classes of some labels, where it says `auto`.

        Args:
            labels: The classes of the training data, integers; `None` if they have none.

        Raises:
            ValueError: If the recipe needs labels, and there are none.
        """
        if self.model.get("classes") != "auto":
            return self

        if labels is None:
            raise ValueError(
                f"recipe {self.name} expects data with labels, because it says `classes: auto`; "
                "got none. Choose data with labels, or leave classes out."
            )

        from pyro_exact.recipes.models import entry_of

        model = {key: value for key, value in self.model.items() if key != "classes"}
        setting = entry_of(model, f"recipe {self.name}").context_setting
        counts = {} if setting is None else {setting: int(labels.max()) + 1}
        return dataclasses.replace(self, model={**model, **counts})

    def fitted(self, data: Dataset) -> Recipe:
        """Return the recipe with the settings that follow from the data.

        These are the columns of a table, unless the recipe has columns, and the number of classes
        where it says `auto`. A batch of vectors is at most the whole of the training rows.

        Args:
            data: The data set.

        Raises:
            ValueError: If values are missing, and the model cannot sum them out.
        """
        from pyro_exact.recipes.models import settings_from

        recipe = self.for_classes(data.labels("train"))
        model = {**recipe.model, **settings_from(recipe.model, data)}
        training = recipe.training
        if len(data.event_shape) == 1:
            rows = min(training.batch_size, len(data.split("train")))
            training = dataclasses.replace(training, batch_size=rows)
        return dataclasses.replace(recipe, model=model, training=training)

    def filled(self) -> Recipe:
        """Return the recipe with all defaults of the model, because defaults may change later."""
        from pyro_exact.recipes.models import with_defaults

        return dataclasses.replace(self, model=with_defaults(self.model))

    def on_data(self, data: str, levels: int | None) -> Recipe:
        """Return the recipe with other data; the result of the paper stays only on its own data.

        Args:
            data: Name of the data set, or a path.
            levels: Levels of a pixel, if fewer than the data have.
        """
        paper = self.paper
        if paper is not None and (data, levels) != (self.data, self.levels):
            paper = dataclasses.replace(paper, value=None)
        return dataclasses.replace(self, data=data, levels=levels, paper=paper)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for YAML, JSON or a checkpoint."""
        values = dataclasses.asdict(self)
        values["training"]["betas"] = list(self.training.betas)
        return values

    def build(
        self,
        shape: tuple[int, ...],
        levels: int | None,
        limits: Limits = LARGEST_MODEL,
        check: Callable[[GenerativeModel], object] = lambda model: None,
    ) -> GenerativeModel:
        """Return the model for data of a shape.

        Args:
            shape: Shape of a row of the data, (C, H, W) of an image.
            levels: Levels; the values of an element are 0, ..., levels - 1. `None` for real
                elements.
            limits: Limits of the resources for building the model.
            check: Called with the model before memory for the weights is allocated; this function
                may raise an error because of the shapes of the weights.

        Raises:
            ValueError: If the model does not fit the shape, or exceeds the limits; then nothing was
                allocated.
        """
        if self.model.get("classes") == "auto":
            raise ValueError(
                f"recipe {self.name} expects a number of classes; got `auto`. Call "
                "recipe.for_classes(labels) first."
            )

        from pyro_exact.recipes.allowance import build_within
        from pyro_exact.recipes.models import entry_of

        source = f"recipe {self.name}"
        shape = check_event(shape, levels, source)
        build = entry_of(self.model, source).build
        settings = self._settings()

        try:
            return build_within(lambda: build(shape, levels, **settings), source, limits, check)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise

            # A builder checks each argument alone. Torch may refuse the combination.
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{source} does not build a model of data of shape {shape}: {reason}. Change its "
                "settings."
            ) from error

    def _settings(self) -> dict[str, Any]:
        from pyro_exact.recipes.models import parse_settings

        return parse_settings(self.model, f"recipe {self.name}: model")


def check_event(shape: object, levels: object, source: str) -> tuple[int, ...]:
    """Return the shape of a row; raise ValueError if the shape or ``levels`` is out of range."""
    sizes = check_sizes(source, "shape", shape)
    if levels is not None:
        check_size(source, "levels", levels, least=2, most=MOST_LEVELS)

    if prod(sizes) > LARGEST_EVENT:
        raise ValueError(
            f"{source} expects data of at most {LARGEST_EVENT} elements; got shape {sizes}. Scale "
            f"images down."
        )
    return sizes
