"""The command line, `pyro-exact`."""

from pyro_exact.cli.parser import main

__all__ = ["main"]
