"""Pyro model/guide pairs."""

from pyro_exact.models.density import Density
from pyro_exact.models.dequantized import Dequantized
from pyro_exact.models.generative_model import GenerativeModel

__all__ = ["Density", "Dequantized", "GenerativeModel"]
