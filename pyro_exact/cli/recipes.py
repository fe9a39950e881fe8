"""The command `pyro-exact recipes`."""

from __future__ import annotations

import yaml

from pyro_exact.cli.output import tell
from pyro_exact.recipes import Paper, list_recipes, load_recipe


def recipes(show: str | None = None) -> None:
    """List the recipes that ship with the library, with the result of the paper.

    Args:
        show: Name of a recipe to print with all settings, as YAML; this file can be changed and
            used in train.
    """
    if show is not None:
        settings = load_recipe(show).filled().to_dict()
        tell(yaml.safe_dump(settings, sort_keys=False), end="")
        return

    entries = list_recipes()
    name_width = max(len(entry.name) for entry in entries)
    data_width = max(len(entry.data) for entry in entries)
    for entry in entries:
        columns = f"{entry.name:<{name_width}}  {entry.data:<{data_width}}"
        tell(f"{columns}  {_published(entry.paper)}")


def _published(paper: Paper | None) -> str:
    """Return the result of a paper and the reference, as text."""
    if paper is None or paper.value is None:
        return "no published number"
    return f"{paper.value} {paper.unit}  {paper.reference}"
