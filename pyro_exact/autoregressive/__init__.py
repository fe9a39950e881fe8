"""Causal networks, one family a file: what `pyro_exact.distributions.Autoregressive` makes distributions of."""

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.made import MADE
from pyro_exact.autoregressive.nade import NADE

__all__ = ["MADE", "NADE", "CausalNet"]
