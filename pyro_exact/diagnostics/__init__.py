"""Tools to look at trained models: the guide and the latents of a VAE, and the layers of a flow."""

from pyro_exact.diagnostics.diagnosis import Diagnosis, Level
from pyro_exact.diagnostics.diagnosis_figure import save_page
from pyro_exact.diagnostics.flow_diagnosis import flow_report
from pyro_exact.diagnostics.flow_figure import save_flow_page
from pyro_exact.diagnostics.flow_summary import FlowReport, LayerReport
from pyro_exact.diagnostics.guide_diagnosis import diagnose
from pyro_exact.diagnostics.inference_data import inference_data

__all__ = [
    "Diagnosis",
    "FlowReport",
    "LayerReport",
    "Level",
    "diagnose",
    "flow_report",
    "inference_data",
    "save_flow_page",
    "save_page",
]
