"""Images as integers: data sets, a check for images from elsewhere, and resumable batches."""

from pyro_exact.data.batches import Batches
from pyro_exact.data.check import check_images
from pyro_exact.data.images import Images
from pyro_exact.data.load import load
from pyro_exact.data.nearest import nearest
from pyro_exact.data.note import DataWarning

__all__ = ["Batches", "DataWarning", "Images", "check_images", "load", "nearest"]
