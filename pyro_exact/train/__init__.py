"""Training and evaluation, with Lightning underneath."""

from pyro_exact.train.checkpoint import load_model, read_checkpoint
from pyro_exact.train.divergence import DivergedError
from pyro_exact.train.evaluate import Evaluation, evaluate
from pyro_exact.train.fit import fit
from pyro_exact.train.record import run_record, write_json

__all__ = ["DivergedError", "Evaluation", "evaluate", "fit", "load_model", "read_checkpoint", "run_record", "write_json"]
