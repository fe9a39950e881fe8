"""The command `pyro-exact recipes`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from pyro_exact.cli.output import tell
from pyro_exact.recipes import Paper, load_recipe
from pyro_exact.recipes.parsing import closest_match

if TYPE_CHECKING:
    from pyro_exact.recipes.families import Summary

WIDTH = 100
INDENT = 24  # columns of the names of models
SMALL = "_small"  # the ending of a recipe at a size for a CPU
UNBROKEN = "\0"  # a space at which no line ends
# Data sets that come with scikit-learn, and data sets that torchvision can download.
IMAGES_IN_PACKAGE = ("digits", "photos")
TABLES_IN_PACKAGE = ("breast_cancer", "diabetes", "wine")
DOWNLOADS = ("mnist", "fashion_mnist", "cifar10", "svhn", "celeba")


def recipes(name: str | None = None, show: str | None = None) -> None:
    """List the recipes that ship with the library, or describe some of them.

    Args:
        name: Name of a recipe, or of a model such as nade, to describe: the paper, the settings,
            the command for training, and our own runs.
        show: Name of a recipe to print with all settings, as YAML; this file can be changed and
            used in train.
    """
    if show is not None:
        settings = load_recipe(show).filled().to_dict()
        tell(yaml.safe_dump(settings, sort_keys=False), end="")
        return

    from pyro_exact.recipes.families import summaries

    found = summaries()
    if name is None:
        _list(found)
    else:
        tell("\n\n".join(_description(recipe) for recipe in _named(name, found)))


def _list(found: Sequence[Summary]) -> None:
    """Print all recipes by family, a paragraph for each model."""
    from pyro_exact.recipes.families import by_family

    for family, models in by_family(found).items():
        tell(f"{family}")
        for model, group in models.items():
            lines = textwrap.wrap(
                ", ".join(_entries(group)),
                WIDTH,
                initial_indent=f"  {model:<{INDENT}}",
                subsequent_indent=" " * (INDENT + 2),
                break_on_hyphens=False,
            )
            tell("\n".join(lines).replace(UNBROKEN, " "))
        tell("")
    tell(
        "(value of the paper, in bits per dimension or nats); [_small]: also at a size for a CPU.\n"
        "To see a recipe: pyro-exact recipes NAME"
    )


def _entries(group: Sequence[Summary]) -> list[str]:
    """Return the names of recipes, with the value of the paper for the settings of the paper.

    A recipe and the small version are a single entry.
    """
    names = {recipe.name for recipe in group}
    entries = []
    for recipe in group:
        if recipe.name.endswith(SMALL) and recipe.name.removesuffix(SMALL) in names:
            continue

        entry, paper = recipe.name, recipe.paper
        if entry + SMALL in names:
            entry += f"[{SMALL}]"
        if paper is not None and paper.value is not None and not entry.endswith(SMALL):
            unit = "" if paper.unit == "bits/dim" else f"{UNBROKEN}nats"
            entry += f"{UNBROKEN}({paper.value:g}{unit})"
        entries.append(entry)
    return entries


def _named(name: str, found: Sequence[Summary]) -> list[Summary]:
    """Return the recipe with a name, or the recipes of a model."""
    same = [recipe for recipe in found if recipe.name == name]
    of_model = [recipe for recipe in found if recipe.model["name"] == name]
    begun = [recipe for recipe in found if recipe.name.startswith(f"{name}_")]
    if not (same or of_model or begun):
        known = [*(recipe.name for recipe in found), *(recipe.model["name"] for recipe in found)]
        raise ValueError(
            f"There is no recipe {name!r}.{closest_match(name, known)} `pyro-exact recipes` lists "
            "all."
        )
    return same or of_model or begun


def _description(recipe: Summary) -> str:
    """Return the paper, settings, command and runs of a recipe, as text."""
    settings = {key: value for key, value in recipe.model.items() if key != "name"}
    lines = [
        ("", f"{recipe.name}: {recipe.model['name']} on {recipe.data or 'your data'}"),
        ("paper", _published(recipe.paper)),
        ("model", _settings(settings) or "all settings by default"),
        ("training", _settings(recipe.training) or "all settings by default"),
        *(("our run", _run(run)) for run in recipe.runs),
        ("train", _command(recipe)),
        ("settings", f"pyro-exact recipes --show {recipe.name}"),
    ]
    if not recipe.runs:
        lines.insert(-2, ("our run", "none is recorded"))

    return "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"  {head:<10}" if head else "",
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for head, text in lines
    )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {'null' if v is None else v}" for key, v in values.items())


def _published(paper: Paper | None) -> str:
    """Return the result of a paper and the reference, as text."""
    if paper is None:
        return "none"
    value = "no value" if paper.value is None else f"{paper.value:g} {paper.unit}"
    budget = f" ({paper.budget})" if paper.budget else ""
    return f"{value}: {paper.reference}{budget}"


def _run(run: Mapping[str, Any]) -> str:
    """Return the score, the size and the time of a run, as text."""
    minutes = run["seconds"] / 60
    time = f"{minutes:.0f} minutes" if minutes >= 2 else f"{run['seconds']:.0f} seconds"
    digits = 3 if run["unit"] == "bits/dim" else 2
    return (
        f"{run['value']:.{digits}f} {run['unit']} ({run['bound']}) on {run['data']}; "
        f"{run['parameters']:,} parameters, {run['steps']:,} steps, {time} on {run['hardware']}"
    )


def _command(recipe: Summary) -> str:
    """Return the command that trains a recipe."""
    command = f"pyro-exact train {recipe.name}"
    if recipe.data in IMAGES_IN_PACKAGE:
        return command
    if recipe.data in TABLES_IN_PACKAGE:
        return f"{command} --data TABLE.csv"
    if recipe.data == "" or "." in recipe.data:  # a file of the user
        return f"{command} --data {recipe.data or 'FILE'}"
    return f"{command} --data-root FOLDER{' --download' if recipe.data in DOWNLOADS else ''}"
