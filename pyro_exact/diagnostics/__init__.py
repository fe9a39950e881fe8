"""What a posterior tells, and how well: bounds, Pareto's k, divergences, and whether the latent is used at all."""

from pyro_exact.diagnostics.diagnosis import Diagnosis, Level, diagnose
from pyro_exact.diagnostics.inference_data import inference_data
from pyro_exact.diagnostics.page import save_page

__all__ = ["Diagnosis", "Level", "diagnose", "inference_data", "save_page"]
