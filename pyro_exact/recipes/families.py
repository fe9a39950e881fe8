"""Families of models, and the recorded runs of each recipe, read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pyro_exact.recipes.load import read_recipe, recipe_names
from pyro_exact.recipes.recipe import Paper
from pyro_exact.recipes.registry import registered_names

# The models of each family; `recipes.models.MODELS` has the code of each.
FAMILIES: Mapping[str, Sequence[str]] = {
    "Flows of images": ("nice", "real_nvp", "glow", "flow_pp", "tarflow", "idf"),
    "Flows and mixtures of tables": ("maf", "nsf", "real_nvp_table", "mixture"),
    "Autoregressive networks of images": (
        "pixel_cnn",
        "gated_pixel_cnn",
        "pixel_cnn_pp",
        "row_lstm",
        "diagonal_bilstm",
        "multi_scale_pixel_rnn",
        "repredicting_multi_scale",
        "multiscale_pixel_cnn",
        "pixel_snail",
        "image_transformer",
    ),
    "Autoregressive networks of bits and categories": ("made", "nade"),
    "Networks that predict in any order": ("deep_nade", "conv_nade"),
    "Variational autoencoders": (
        "dense_vae",
        "conv_vae",
        "iaf_vae",
        "conv_draw",
        "pixel_vae",
        "hierarchical_pixel_vae",
    ),
}
OTHERS = "Other models"


@dataclass(frozen=True)
class Summary:
    """A recipe of the library, or a registered builder, as plain values.

    Attributes:
        name: Name of the recipe.
        model: The model and the settings.
        data: Name of the data set; empty for a registered builder.
        training: Settings of the training that the recipe gives.
        paper: See `Paper`.
        runs: Our committed records of runs: value, unit, bound, data, steps, seconds, hardware and
            parameters of each.
    """

    name: str
    model: Mapping[str, Any]
    data: str
    training: Mapping[str, Any]
    paper: Paper | None
    runs: Sequence[Mapping[str, Any]]


def summaries() -> list[Summary]:
    """Return all recipes, and the names of registered builders. This does not import torch."""
    measured = _measured()
    found = []
    for name in recipe_names():
        values = read_recipe(name)
        paper = values.get("paper")
        found.append(
            Summary(
                name,
                values["model"],
                values["data"],
                values.get("training", {}),
                None if paper is None else Paper(**paper),
                measured.get(name, []),
            )
        )
    return found + [Summary(name, {"name": name}, "", {}, None, []) for name in registered_names()]


def by_family(recipes: Sequence[Summary]) -> dict[str, dict[str, list[Summary]]]:
    """Return recipes by family and by model, in the order of `FAMILIES`."""
    family_of = {model: family for family, models in FAMILIES.items() for model in models}
    order = {model: place for place, model in enumerate(family_of)}

    groups: dict[str, dict[str, list[Summary]]] = {family: {} for family in (*FAMILIES, OTHERS)}
    for recipe in sorted(recipes, key=lambda r: order.get(r.model["name"], len(order))):
        model = recipe.model["name"]
        groups[family_of.get(model, OTHERS)].setdefault(model, []).append(recipe)
    return {family: models for family, models in groups.items() if models}


def _measured() -> dict[str, list[dict[str, Any]]]:
    """Return the table that docs/make_results.py writes from the committed records."""
    text = resources.files(__package__).joinpath("measured.json").read_text(encoding="utf-8")
    table: dict[str, list[dict[str, Any]]] = json.loads(text)
    return table
