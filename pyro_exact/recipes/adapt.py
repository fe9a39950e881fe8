"""Fit a recipe of the library to other data: the shape, the levels and the classes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyro_exact.recipes.recipe import Recipe

if TYPE_CHECKING:
    from pyro_exact.data import Dataset

LEAST_PIXELS = 4  # a side of the smallest scale of a flow
FEW_LEVELS = 64  # up to here a network of bits can have a category for each level


@dataclass
class Adapted:
    """A recipe that fits some data, and the reasons of each choice.

    Attributes:
        recipe: The recipe.
        choices: Pairs of a setting and the reason, in the order of the choices.
    """

    recipe: Recipe
    choices: list[tuple[str, str]] = field(default_factory=list)


def adapt(like: Recipe, name: str, data: Dataset, source: str) -> Adapted:
    """Return a recipe like another recipe that fits some data, and the reasons of each choice.

    Args:
        like: The recipe to begin with.
        name: Name of the new recipe.
        data: The data.
        source: Name or path of the data, to be read by `pyro_exact.data.load`.

    Raises:
        ValueError: If no choice of these settings makes the model fit the data.
    """
    from pyro_exact.recipes.models import entry_of

    entry = entry_of(like.model, f"recipe {like.name}")
    parameters = inspect.signature(entry.signature).parameters
    adapted = Adapted(dataclasses.replace(like, name=name, data=source, paper=None))
    _fit_scales(adapted, parameters, data)
    if entry.likelihood and "levels" not in parameters:
        _fit_likelihood(adapted, data)
    _fit_classes(adapted, entry.context_setting, data)
    _fit_training(adapted, data)

    try:
        adapted.recipe.fitted(data).build(data.event_shape, data.levels)
    except ValueError as error:
        raise ValueError(
            f"A recipe like {like.name} does not fit {data!r}: {error} Choose another recipe "
            "(--like), or other data."
        ) from error
    return adapted


def _fit_scales(adapted: Adapted, parameters: Mapping[str, Any], data: Dataset) -> None:
    """Choose the scales of a model: the sides must be divisible, and not too small."""
    if "scales" not in parameters or len(data.event_shape) != 3:
        return

    _, height, width = data.event_shape
    given = adapted.recipe.model.get("scales", parameters["scales"].default)
    scales = 1
    while scales < given and _divides(2 ** (scales + 1), height, width):
        scales += 1

    smallest = f"{height // 2**scales} x {width // 2**scales}"
    reason = f"sides of {height} x {width} pixels are {smallest} at the smallest scale"
    if scales < given:
        reason += f"; {given} scales, as in the recipe, do not divide them, or leave too few pixels"
    _set(adapted, "scales", scales, reason)


def _divides(factor: int, *sides: int) -> bool:
    return all(side % factor == 0 and side // factor >= LEAST_PIXELS // 2 for side in sides)


def _fit_likelihood(adapted: Adapted, data: Dataset) -> None:
    """Choose the likelihood of a network that is for bits by default."""
    if data.levels is None:
        _set(adapted, "likelihood", "gaussian", "the elements are real")
        return
    if data.levels == 2:
        return

    if data.levels > FEW_LEVELS:
        raise ValueError(
            f"A recipe with the model {adapted.recipe.model['name']} expects at most {FEW_LEVELS} "
            f"levels; got {data.levels}. Use --binarize, or another recipe (--like)."
        )
    reason = f"a category for each of the {data.levels} levels, because the default is for bits"
    _set(adapted, "likelihood", "categorical", reason)


def _fit_classes(adapted: Adapted, setting: str | None, data: Dataset) -> None:
    """Choose the classes of a class-conditional model."""
    model = adapted.recipe.model
    conditional = setting is not None and (model.get(setting) or model.get("classes"))
    labels = data.labels("train")
    if setting is None or not conditional:
        return

    if labels is None:
        kept = {key: value for key, value in model.items() if key not in (setting, "classes")}
        adapted.recipe = dataclasses.replace(adapted.recipe, model=kept)
        adapted.choices.append((f"no {setting}", "the data have no labels"))
    else:
        kept = {key: value for key, value in model.items() if key != "classes"}
        adapted.recipe = dataclasses.replace(adapted.recipe, model=kept)
        _set(adapted, setting, int(labels.max()) + 1, "the number of classes of the labels")


def _fit_training(adapted: Adapted, data: Dataset) -> None:
    """Choose the size of a batch, and how many images are used for each validation."""
    training, total = adapted.recipe.training, len(data.split("train"))
    if training.batch_size > total:
        adapted.recipe = adapted.recipe.changed({}, {"batch_size": total})
        reason = f"there are {total} training images"
        adapted.choices.append((f"training.batch_size {total}", reason))
    if training.flip and data.levels == 2:
        adapted.recipe = adapted.recipe.changed({}, {"flip": False})
        adapted.choices.append(("training.flip false", "mirrored bits are rarely of the same kind"))


def _set(adapted: Adapted, setting: str, value: object, reason: str) -> None:
    """Set a setting of the model, and keep the reason."""
    model = {**adapted.recipe.model, setting: value}
    adapted.recipe = dataclasses.replace(adapted.recipe, model=model)
    adapted.choices.append((f"{setting} {value}", reason))
