"""Builders: functions that return a complete flow of type `Bijection`."""

from pyro_exact.flows.autoregressive import iaf, maf, nsf
from pyro_exact.flows.circular_spline import circular_spline
from pyro_exact.flows.cnf import cnf
from pyro_exact.flows.constrained import bounded, constrained
from pyro_exact.flows.couplings import couplings
from pyro_exact.flows.flow_pp import flow_pp
from pyro_exact.flows.flow_pp_dequantizer import flow_pp_dequantizer
from pyro_exact.flows.gaussianization import gaussianization
from pyro_exact.flows.glow import glow
from pyro_exact.flows.idf import idf
from pyro_exact.flows.neural_autoregressive import bernstein, bnaf, naf, sos, umnn
from pyro_exact.flows.nice import image_nice, nice
from pyro_exact.flows.planar import planar
from pyro_exact.flows.radial import radial
from pyro_exact.flows.real_nvp import image_real_nvp, real_nvp
from pyro_exact.flows.spline_coupling import image_spline_coupling, spline_coupling
from pyro_exact.flows.sylvester import sylvester
from pyro_exact.flows.tarflow import tarflow

__all__ = [
    "bernstein",
    "bnaf",
    "bounded",
    "circular_spline",
    "cnf",
    "constrained",
    "couplings",
    "flow_pp",
    "flow_pp_dequantizer",
    "gaussianization",
    "glow",
    "iaf",
    "idf",
    "image_nice",
    "image_real_nvp",
    "image_spline_coupling",
    "maf",
    "naf",
    "nice",
    "nsf",
    "planar",
    "radial",
    "real_nvp",
    "sos",
    "spline_coupling",
    "sylvester",
    "tarflow",
    "umnn",
]
