"""Pictures as PNG files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_exact.checks import check_finite, check_tensor, printable
from pyro_exact.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 128  # a power of two, so that a size in inches is a whole number of pixels
PANEL = 540  # pixels: small images are enlarged until a grid is about so wide
NARROWEST = 270  # room for a title
TALLEST = 1600  # pixels to which small images are enlarged
MARGIN = 8
LARGEST_PICTURE = 2**26  # pixels
FILL = 1.0  # white, between images
FILL_OF_VECTORS = 0.75  # light grey: vectors are often rows of black and white


def image_grid(images: Tensor, columns: int = 8, gap: int = 1, fill: float = FILL) -> Tensor:
    """Lay images out in rows.

    Args:
        images: Of shape (N, C, H, W), N at least 1.
        columns: Images in a row.
        gap: Empty pixels between two images.
        fill: Their value.

    Returns:
        One image of shape (C, rows (H + gap) - gap, columns (W + gap) - gap).

    Example:
        >>> image_grid(torch.zeros(10, 1, 8, 8), columns=5).shape
        torch.Size([1, 17, 44])
    """
    n, channels, height, width = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    grid = images.new_full(
        (channels, rows * (height + gap) - gap, columns * (width + gap) - gap), fill
    )
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    return grid


def drawable_grid(images: Tensor, columns: int = 8) -> Tensor:
    """Lay images of any number of channels, or vectors, out as one grey or RGB image.

    Of 2, 4 or more channels each is a grey tile, one under another. A vector, which is a grey image
    of one row, takes a row of the grid for itself; those that would stand in one row of images
    stand together.

    Args:
        images: Of shape (N, C, H, W), with values in [0, 1].
        columns: Images in a row.

    Returns:
        One image with 1 or 3 channels.
    """
    _, channels, height, _ = images.shape
    if channels == 1 and height == 1:
        groups = [image_grid(group, 1, 1, FILL_OF_VECTORS) for group in images.split(columns)]
        tallest = len(groups[0][0])
        whole = [
            torch.nn.functional.pad(g, (0, 0, 0, tallest - g.shape[1]), value=FILL_OF_VECTORS)
            for g in groups
        ]
        return image_grid(torch.stack(whole), 1, 3, FILL_OF_VECTORS)
    if channels in (1, 3):
        return image_grid(images, columns)
    tiles = [image_grid(image.unsqueeze(1), 1) for image in images]
    return image_grid(torch.stack(tiles), columns, gap=3)


def check_grid(n: int, shape: Sequence[int], columns: int = 8) -> None:
    """Make sure, before images are computed, that a picture can hold them at one pixel for each of theirs.

    Args:
        n: How many images.
        shape: (C, H, W) of one.
        columns: Images in a row.

    Raises:
        ValueError: If the picture would be too large.
    """
    channels, height, width = shape
    tiles = channels if channels not in (1, 3) else 1
    across, down = min(columns, n), -(-n // columns)
    if height == channels == 1:
        across, down = 1, n
    size = across * (width + 3), down * tiles * (height + 3)
    if math.prod(size) > LARGEST_PICTURE or max(size) >= 2**15:
        raise ValueError(
            f"A picture expects at most {LARGEST_PICTURE:,} pixels, and {2**15:,} on a side; {n} images of shape "
            f"{tuple(shape)} take {size[0]:,} x {size[1]:,}. Lower their number (--n)."
        )


def save_grids(
    grids: Mapping[str, Tensor], levels: int, path: str | Path, columns: int = 8, rows: int = 1
) -> None:
    """Save grids of images, each under its title, side by side or in rows; each pixel of theirs takes one or more.

    Args:
        grids: Title and images, of shape (N, C, H, W) and with values from 0 to levels - 1.
        levels: Number of pixel levels.
        path: A PNG file.
        columns: Images in a row of one grid.
        rows: Rows of grids, which divide their number.

    Raises:
        TypeError: If images are no tensor.
        ValueError: If an image holds NaN or a level that there is not, or there are too many of
            them.
    """
    from matplotlib.figure import Figure

    for title, images in grids.items():
        check_drawable("save_grids", title, images, levels)
        check_grid(len(images), images.shape[1:], columns)
    drawn = {
        title: drawable_grid(images.cpu().float() / (levels - 1), columns)
        for title, images in grids.items()
    }

    # In pixels: the scale of all grids, and the room for one of them with its title.
    widest, tallest = (max(grid.shape[dim] for grid in drawn.values()) for dim in (-1, -2))
    scale = max(1, min(PANEL // widest, TALLEST // tallest))
    panel = max(scale * widest, NARROWEST) + 2 * MARGIN
    across = len(drawn) // rows

    figure = Figure(figsize=(panel * across / DPI, 1), dpi=DPI)
    titles = [fitted_text(figure, title, panel - 2 * MARGIN) for title in drawn]
    strip = MARGIN + max(math.ceil(title.get_window_extent().height) for title in titles)
    row = strip + scale * tallest + 2 * MARGIN
    figure.set_size_inches(panel * across / DPI, row * rows / DPI)

    for place, (grid, text) in enumerate(zip(drawn.values(), titles, strict=True)):
        left, top = (
            place % across * panel,
            row * rows - place // across * row,
        )  # from the lower left corner
        text.set_position(((left + panel / 2) / (panel * across), (top - MARGIN) / (row * rows)))
        pixels = (
            grid.movedim(0, -1).squeeze(-1).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        )
        height, width = pixels.shape[:2]
        place_x, place_y = left + (panel - width) // 2, top - strip - MARGIN - height
        figure.figimage(
            pixels.numpy(), place_x, place_y, cmap="gray", vmin=0, vmax=1, origin="upper"
        )
    _save(figure, path)


def fitted_text(figure: Figure, text: str, width: float) -> Text:
    """Return a text in a figure, centred under its place, in as many lines as fit into so many pixels."""
    shown = figure.text(0, 0, printable(text), ha="center", va="top", fontsize=10, parse_math=False)
    limit = len(text)
    while (extent := shown.get_window_extent().width) > width and limit > 1:
        limit = min(limit - 1, int(limit * width / extent))
        shown.set_text(textwrap.fill(printable(text), max(limit, 1)))
    return shown


def save_curve(
    curve: Mapping[str, Sequence[Sequence[float]]],
    path: str | Path,
    anchors: Mapping[str, float] | None = None,
) -> None:
    """Save the training curve of a run.

    Args:
        curve: ``train`` and ``valid``, each a list of (step, seconds, bits/dim).
        path: A PNG file.
        anchors: Names and bits/dim of horizontal lines to compare with.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    figure, axis = _figure(5.5, 5.5)
    shown = list((anchors or {}).values())
    for name, style in (("train", {"alpha": 0.6, "lw": 1}), ("valid", {"marker": "o", "ms": 4})):
        steps, values = [point[0] for point in curve[name]], [point[2] for point in curve[name]]
        check_finite(
            "save_curve",
            f"the curve {name}",
            torch.tensor(values),
            "Train again with a lower learning rate",
        )
        axis.plot(steps, values, label=name, **style)
        shown += values[len(values) // 10 :]  # the first ones dwarf all others
    for name, value in (anchors or {}).items():
        axis.axhline(value, color="gray", ls=":", lw=1)
        axis.annotate(name, (0, value), fontsize=8, va="bottom")
    if shown:
        margin = 0.1 * (max(shown) - min(shown)) or 0.1
        axis.set_ylim(min(shown) - margin, max(shown) + margin)
    axis.set(xlabel="step", ylabel="bits/dim")
    axis.legend()
    _save(figure, path)


def check_drawable(owner: str, title: str, images: Tensor, levels: int) -> None:
    """Raise an error if images cannot be drawn: a value that is clipped would hide that a model went wrong.

    Args:
        owner: The function that draws them.
        title: What they are called in the picture.
        images: Of shape (N, C, H, W).
        levels: Number of pixel levels.

    Raises:
        TypeError: If images are no tensor.
        ValueError: If an image holds NaN or a level that there is not, or there is none.
    """
    name = f"the images {printable(title)!r}"
    check_tensor(owner, name, images)
    if images.dim() != 4 or images.numel() == 0:
        raise ValueError(
            f"{owner} expects {name} of shape (N, C, H, W), at least one; got {tuple(images.shape)}. Reshape them."
        )
    check_finite(owner, name, images, "Look for the layer that made them so")
    lowest, highest = images.min().item(), images.max().item()
    if lowest < 0 or highest > levels - 1:
        raise ValueError(
            f"{owner} expects {name} with levels from 0 to {levels - 1}; got values from {lowest:g} to {highest:g}. "
            f"Correct the number of levels, or the images."
        )


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, path: str | Path) -> None:
    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
