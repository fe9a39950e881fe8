"""Laws for the layers and models of this package and for yours: see `check_bijection` and `check_model`."""

from pyro_exact.testing.check import check_bijection, laws
from pyro_exact.testing.law import Law
from pyro_exact.testing.model import ModelTrial, check_model, model_laws
from pyro_exact.testing.trial import Trial

__all__ = [
    "Law",
    "ModelTrial",
    "Trial",
    "check_bijection",
    "check_model",
    "laws",
    "model_laws",
]
