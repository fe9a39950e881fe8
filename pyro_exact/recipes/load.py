"""Load the recipes of the library, and recipes from YAML files."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pyro_exact.checks import check_path, printable, shown
from pyro_exact.recipes.parsing import closest_match
from pyro_exact.recipes.plain import LARGEST_FILE, read_yaml
from pyro_exact.recipes.recipe import Paper, Recipe
from pyro_exact.recipes.registry import registered_names


class Entry(NamedTuple):
    """A line in the list of the recipes of the library.

    Attributes:
        name: Name of the recipe.
        data: Name of the data set used by the recipe.
        paper: See `Paper`.
    """

    name: str
    data: str
    paper: Paper | None


def load_recipe(name: str) -> Recipe:
    """Load a recipe of the library, or a recipe from a YAML file.

    Args:
        name: A name that `recipe_names` returns, the path of a YAML file, or the name of a
            registered builder, whose recipe has the default settings and no data.

    Raises:
        TypeError: If ``name`` is not a string or a path.
        ValueError: If there is no such recipe, with the closest known name, or if the file is not a
            valid recipe.
    """
    path = check_path("load_recipe", "name", name)
    known = recipe_names()

    if name in known:
        text = _read_recipe(name)
    elif path.suffix in (".yaml", ".yml"):
        # Path.is_file would raise an error on a name that is too long.
        if not os.path.isfile(name):
            raise ValueError(
                f"There is no recipe file {printable(name)}. Check the path; `pyro-exact recipes` "
                "lists the recipes of the library."
            )
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    elif name in registered_names():
        return Recipe(name, {"name": name}, data="")
    else:
        raise ValueError(
            f"There is no recipe {shown(name)}.{closest_match(name, known)} "
            f"Pass one of {', '.join([*known, *registered_names()])}, or the path of a .yaml file."
        )

    source = f"recipe {printable(name)}"
    values = read_yaml(text, source)
    named = {"name": path.stem, **values} if isinstance(values, dict) else values
    return Recipe.from_dict(named, source)


def recipe_names() -> list[str]:
    """Return the names of the recipes of the library."""
    files = (Path(str(entry)) for entry in resources.files(__package__).iterdir())
    return sorted(path.stem for path in files if path.suffix == ".yaml")


def list_recipes() -> list[Entry]:
    """Return name, data set and paper of each recipe, and the names of registered builders.

    This does not import torch.
    """
    entries = []
    for name in recipe_names():
        values = read_recipe(name)
        paper = values.get("paper")
        entries.append(Entry(name, values["data"], None if paper is None else Paper(**paper)))
    return entries + [Entry(name, "", None) for name in registered_names()]


def read_recipe(name: str) -> dict[str, Any]:
    """Return the plain values of a recipe of the library. This does not import torch."""
    values: dict[str, Any] = read_yaml(_read_recipe(name), f"recipe {name}")
    return values


def _read_recipe(name: str) -> bytes:
    return resources.files(__package__).joinpath(f"{name}.yaml").read_bytes()
