"""The laws of a generative model: see `check_model`."""

from pyro_exact.testing.model.check import check_model, model_laws
from pyro_exact.testing.model.trial import ModelTrial

__all__ = ["ModelTrial", "check_model", "model_laws"]
