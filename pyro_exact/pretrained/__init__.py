"""Trained models by name: weights that come with the package, each with the record of the run."""

from pyro_exact.pretrained.files import export, load_file
from pyro_exact.pretrained.table import SUFFIX, Shipped, file_of, load, names, record

__all__ = ["SUFFIX", "Shipped", "export", "file_of", "load", "load_file", "names", "record"]
