"""Training and evaluation, with Lightning underneath."""

from pyro_exact.recipes.training import Elbo, Training
from pyro_exact.train.checkpoint import BEST, LAST, load_model, load_weights, read_checkpoint
from pyro_exact.train.data_module import labels_for
from pyro_exact.train.device import first_process
from pyro_exact.train.divergence import DivergedError, NotFiniteError, check_weights
from pyro_exact.train.evaluate import Evaluation, evaluate
from pyro_exact.train.fit import Run, fit
from pyro_exact.train.run_record import RunRecord

__all__ = [
    "BEST",
    "LAST",
    "DivergedError",
    "Elbo",
    "Evaluation",
    "NotFiniteError",
    "Run",
    "RunRecord",
    "Training",
    "check_weights",
    "evaluate",
    "first_process",
    "fit",
    "labels_for",
    "load_model",
    "load_weights",
    "read_checkpoint",
]
