"""Recipes: a paper's model and settings in one YAML file each, with the paper's number beside it."""

from pyro_exact.recipes.load import load_recipe, recipe_names
from pyro_exact.recipes.recipe import MODELS, Paper, Recipe, Unit
from pyro_exact.recipes.training import Elbo, Training

__all__ = ["MODELS", "Elbo", "Paper", "Recipe", "Training", "Unit", "load_recipe", "recipe_names"]
