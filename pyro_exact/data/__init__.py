"""Data sets of images, tables and arrays, checks of their elements, and resumable batches."""

from pyro_exact.data.arrays import ArrayDataset, as_dataset
from pyro_exact.data.batches import Batches
from pyro_exact.data.binarize import binarize
from pyro_exact.data.check import check_images
from pyro_exact.data.columns import Column
from pyro_exact.data.dataset import Dataset, Rows
from pyro_exact.data.images import Images
from pyro_exact.data.load import load
from pyro_exact.data.nearest import nearest
from pyro_exact.data.note import DataWarning
from pyro_exact.data.table import Table, make_table

__all__ = [
    "ArrayDataset",
    "Batches",
    "Column",
    "DataWarning",
    "Dataset",
    "Images",
    "Rows",
    "Table",
    "as_dataset",
    "binarize",
    "check_images",
    "load",
    "make_table",
    "nearest",
]
