"""Recipes: YAML files with a model, the settings of a paper, and the result of the paper."""

from pyro_exact.recipes.load import Entry, list_recipes, load_recipe, recipe_names
from pyro_exact.recipes.recipe import Paper, Recipe, Unit
from pyro_exact.recipes.registry import register, registered_names
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
    "register",
    "registered_names",
]
