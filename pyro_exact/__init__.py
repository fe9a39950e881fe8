"""Generative models with exact or exactly bounded likelihood, for Pyro."""

__version__ = "0.1.0"
