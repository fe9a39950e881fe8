"""Where recipes come from: those that ship with the library, and YAML files from anywhere."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from pyro_exact.checks import check_path, printable, shown
from pyro_exact.recipes.parsing import closest_match
from pyro_exact.recipes.plain import LARGEST_FILE, read_yaml
from pyro_exact.recipes.recipe import Paper, Recipe


class Entry(NamedTuple):
    """A line in the list of the recipes that ship with the library.

    Attributes:
        name: Name of the recipe.
        data: Name of the data set the recipe was made for.
        paper: See `Paper`.
    """

    name: str
    data: str
    paper: Paper | None


def load_recipe(name: str) -> Recipe:
    """Read a recipe that ships with the library, or a YAML file.

    Args:
        name: A name that `recipe_names` returns, or the path of a YAML file.

    Raises:
        TypeError: If it is no name.
        ValueError: If there is no such recipe, with the nearest known name, or if the file is not
            right.
    """
    path, known = check_path("load_recipe", "name", name), recipe_names()
    if name in known:
        text = _shipped(name)
    elif path.suffix in (".yaml", ".yml"):
        if not os.path.isfile(name):  # False for a name that is too long, where Path.is_file raises
            raise ValueError(
                f"There is no recipe file {printable(name)}. Check the path; `pyro-exact recipes` lists our own."
            )
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    else:
        raise ValueError(
            f"There is no recipe {shown(name)}.{closest_match(name, known)} "
            f"Pass one of {', '.join(known)}, or the path of a .yaml file."
        )

    source = f"recipe {printable(name)}"
    values = read_yaml(text, source)
    named = {"name": path.stem, **values} if isinstance(values, dict) else values
    return Recipe.from_dict(named, source)


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the library."""
    files = (Path(str(entry)) for entry in resources.files(__package__).iterdir())
    return sorted(path.stem for path in files if path.suffix == ".yaml")


def list_recipes() -> list[Entry]:
    """Return name, data set and paper of each recipe that ships with the library; it imports no model, and no torch."""
    entries = []
    for name in recipe_names():
        values = read_yaml(_shipped(name), f"recipe {name}")
        paper = values.get("paper")
        entries.append(Entry(name, values["data"], None if paper is None else Paper(**paper)))
    return entries


def _shipped(name: str) -> bytes:
    return resources.files(__package__).joinpath(f"{name}.yaml").read_bytes()
