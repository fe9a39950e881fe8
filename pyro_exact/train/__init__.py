"""Training and evaluation, with Lightning underneath."""

from pyro_exact.train.checkpoint import BEST, LAST, load_model, read_checkpoint
from pyro_exact.train.device import first_process
from pyro_exact.train.divergence import DivergedError, NotFiniteError, check_weights
from pyro_exact.train.evaluate import Evaluation, evaluate
from pyro_exact.train.fit import fit
from pyro_exact.train.labels import labels_for
from pyro_exact.train.run_record import RunRecord

__all__ = [
    "BEST",
    "LAST",
    "DivergedError",
    "Evaluation",
    "NotFiniteError",
    "RunRecord",
    "check_weights",
    "evaluate",
    "first_process",
    "fit",
    "labels_for",
    "load_model",
    "read_checkpoint",
]
