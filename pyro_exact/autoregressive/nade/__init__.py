"""NADE: a hidden layer for each dimension, with shared weights."""

from pyro_exact.autoregressive.nade.net import NADE

__all__ = ["NADE"]
