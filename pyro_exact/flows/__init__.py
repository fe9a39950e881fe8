"""Builders: functions that return a ready `Bijection`."""

from pyro_exact.flows.glow import glow
from pyro_exact.flows.planar import planar
from pyro_exact.flows.radial import radial
from pyro_exact.flows.sylvester import sylvester

__all__ = ["glow", "planar", "radial", "sylvester"]
