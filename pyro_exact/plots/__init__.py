"""Figures as PNG files: grids of images, and training curves."""

from pyro_exact.plots.bit_map import save_bit_map
from pyro_exact.plots.curve import save_curve
from pyro_exact.plots.grid import check_drawable, check_grid, drawable_grid, image_grid
from pyro_exact.plots.image_page import MARGIN, PANEL, save_grids

__all__ = [
    "MARGIN",
    "PANEL",
    "check_drawable",
    "check_grid",
    "drawable_grid",
    "image_grid",
    "save_bit_map",
    "save_curve",
    "save_grids",
]
