"""Distributions: flows as flyweights around modules, and dequantisation noise."""

from pyro_exact.distributions.dequantizer import UniformDequantizer
from pyro_exact.distributions.flow import Flow, StandardNormal

__all__ = ["Flow", "StandardNormal", "UniformDequantizer"]
