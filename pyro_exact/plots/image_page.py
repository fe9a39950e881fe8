"""Grids of images, each below a title, in a figure at whole pixels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.files import atomic_write
from pyro_exact.plots.grid import check_drawable, check_grid, drawable_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 128  # a power of two, so that a size in inches is a whole number of pixels
PANEL = 540  # pixels: small images are enlarged until a grid is about as wide
NARROWEST = 270  # pixels, which a title needs
TALLEST = 1600  # pixels to which small images are enlarged
MARGIN = 8  # pixels


def save_grids(
    grids: Mapping[str, Tensor],
    levels: int,
    path: str | Path,
    columns: int = 8,
    rows: int = 1,
) -> None:
    """Save grids of images, each below a title, side by side or in rows.

    Each pixel of an image takes a square of pixels of the figure.

    Args:
        grids: Titles and images, of shape (N, C, H, W) with values from 0 to levels - 1.
        levels: Levels of a pixel.
        path: A PNG file.
        columns: Images in each row of a grid.
        rows: Rows of grids, which must divide the grids evenly.

    Raises:
        TypeError: If images are not a tensor.
        ValueError: If an image has NaN or a value out of range, or there are too many images.
    """
    from matplotlib.figure import Figure

    drawn = _drawable_grids(grids, levels, columns)

    # In pixels: the scale of all grids, and the width of one panel.
    tallest = max(grid.shape[-2] for grid in drawn)
    widest = max(grid.shape[-1] for grid in drawn)
    scale = max(1, min(PANEL // widest, TALLEST // tallest))
    panel = max(scale * widest, NARROWEST) + 2 * MARGIN
    across = len(drawn) // rows
    width = panel * across

    figure = Figure(figsize=(width / DPI, 1), dpi=DPI)
    widest_text = panel - 2 * MARGIN
    texts = [fitted_text(figure, title, widest_text) for title in grids]

    # The height of a row: the tallest title, and the tallest grid.
    lines = max(text.get_window_extent().height for text in texts)
    strip = MARGIN + math.ceil(lines)
    row = strip + scale * tallest + 2 * MARGIN
    height = row * rows
    figure.set_size_inches(width / DPI, height / DPI)

    for place, (grid, text) in enumerate(zip(drawn, texts, strict=True)):
        # Pixels are counted from the lower left corner.
        centre = place % across * panel + panel / 2
        top = height - place // across * row

        text.set_position((centre / width, (top - MARGIN) / height))
        _draw(
            figure,
            grid,
            scale,
            centre,
            top - strip - MARGIN,
        )

    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=DPI, format="png")


def _drawable_grids(
    grids: Mapping[str, Tensor],
    levels: int,
    columns: int,
) -> list[Tensor]:
    """Check the images of all grids, and lay them out with values in [0, 1]."""
    for title, images in grids.items():
        check_drawable("save_grids", title, images, levels)
        check_grid(len(images), images.shape[1:], columns)

    drawn = []
    for images in grids.values():
        values = images.cpu().float() / (levels - 1)
        drawn.append(drawable_grid(values, columns))
    return drawn


def fitted_text(figure: Figure, text: str, width: float) -> Text:
    """Return a text of a figure, centred below a place, in as many lines as a width requires."""
    shown = figure.text(
        0,
        0,
        printable(text),
        ha="center",
        va="top",
        fontsize=10,
        parse_math=False,
    )

    limit = len(text)
    while (extent := shown.get_window_extent().width) > width and limit > 1:
        limit = min(limit - 1, int(limit * width / extent))
        shown.set_text(textwrap.fill(printable(text), max(limit, 1)))
    return shown


def _draw(figure: Figure, grid: Tensor, scale: int, centre: float, top: int) -> None:
    """Draw a grid below a point, which is in the middle of the upper side."""
    pixels = grid.movedim(0, -1).squeeze(-1)  # (H, W), or (H, W, 3)
    for dim in (0, 1):
        pixels = pixels.repeat_interleave(scale, dim)

    height, width = pixels.shape[:2]

    left = math.floor(centre - width / 2)
    figure.figimage(
        pixels.numpy(),
        left,
        top - height,
        cmap="gray",
        vmin=0,
        vmax=1,
        origin="upper",
    )
