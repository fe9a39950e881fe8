"""Data sets of images, tables and arrays, checks of their elements, and resumable batches."""

from pyro_exact.data.arrays import ArrayDataset, as_dataset
from pyro_exact.data.batches import Batches
from pyro_exact.data.binarize import binarize
from pyro_exact.data.check import check_images
from pyro_exact.data.dataset import Dataset, Rows
from pyro_exact.data.images import Images
from pyro_exact.data.load import load
from pyro_exact.data.nearest import nearest
from pyro_exact.data.note import DataWarning

__all__ = [
    "ArrayDataset",
    "Batches",
    "DataWarning",
    "Dataset",
    "Images",
    "Rows",
    "as_dataset",
    "binarize",
    "check_images",
    "load",
    "nearest",
]
