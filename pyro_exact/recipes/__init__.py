"""Recipes: a paper's model and settings in one YAML file each, with the paper's number beside it."""

from pyro_exact.recipes.recipe import MODELS, Elbo, Paper, Recipe, Training, Unit, load_recipe, recipe_names

__all__ = ["MODELS", "Elbo", "Paper", "Recipe", "Training", "Unit", "load_recipe", "recipe_names"]
