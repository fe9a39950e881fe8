"""Distributions of integer flows: exact probabilities of images, and exact codes."""

from pyro_exact.distributions.discrete_flow.coupling import IntegerCoupling
from pyro_exact.distributions.discrete_flow.distribution import DiscreteFlow
from pyro_exact.distributions.discrete_flow.scale import IntegerScale

__all__ = ["DiscreteFlow", "IntegerCoupling", "IntegerScale"]
