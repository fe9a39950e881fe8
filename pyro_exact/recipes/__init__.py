"""Recipes: a paper's model and settings in one YAML file each, with the paper's number beside it."""

from pyro_exact.recipes.load import Entry, list_recipes, load_recipe, recipe_names
from pyro_exact.recipes.recipe import Paper, Recipe, Unit
from pyro_exact.recipes.training import Elbo, Training

__all__ = [
    "Elbo",
    "Entry",
    "Paper",
    "Recipe",
    "Training",
    "Unit",
    "list_recipes",
    "load_recipe",
    "recipe_names",
]
