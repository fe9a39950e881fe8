"""Training and evaluation, with Lightning underneath."""

from pyro_exact.train.checkpoint import BEST, LAST, UnwritableError, load_model, read_checkpoint
from pyro_exact.train.device import first_process
from pyro_exact.train.divergence import DivergedError
from pyro_exact.train.evaluate import Evaluation, evaluate
from pyro_exact.train.fit import check_writable, fit
from pyro_exact.train.record import write_json
from pyro_exact.train.run import Run

__all__ = [
    "BEST",
    "LAST",
    "DivergedError",
    "Evaluation",
    "Run",
    "UnwritableError",
    "check_writable",
    "evaluate",
    "first_process",
    "fit",
    "load_model",
    "read_checkpoint",
    "write_json",
]
