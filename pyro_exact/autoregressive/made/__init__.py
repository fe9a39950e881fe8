"""The masked autoencoder MADE."""

from pyro_exact.autoregressive.made.net import MADE

__all__ = ["MADE"]
