"""Generative models with exact or exactly bounded likelihood, for Pyro."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import an attribute of the package on first use: `diagnose`, and with it all of torch."""
    if name == "diagnose":
        from pyro_exact.diagnostics import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
