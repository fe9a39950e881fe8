"""Builders: functions that return a ready `Bijection`."""

from pyro_exact.flows.glow import glow

__all__ = ["glow"]
