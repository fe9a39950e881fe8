"""Pictures as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pyro_exact.files import in_one_piece

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_grid(images: Tensor, columns: int = 8, gap: int = 1, fill: float = 1.0) -> Tensor:
    """Lay images out in rows.

    Args:
        images: Of shape (N, C, H, W).
        columns: Images in a row.
        gap: Empty pixels between two images.
        fill: Their value.

    Returns:
        One image of shape (C, rows (H + gap) - gap, columns (W + gap) - gap).
    """
    n, channels, height, width = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    grid = images.new_full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), fill)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    return grid


def save_grids(grids: Mapping[str, Tensor], levels: int, path: str | Path, columns: int = 8, rows: int = 1) -> None:
    """Save grids of images, each under its title, side by side or in rows.

    Args:
        grids: Title and images, integers of shape (N, C, H, W) in {0, ..., levels - 1}.
        levels: Number of pixel levels.
        path: A PNG file.
        columns: Images in a row of one grid.
        rows: Rows of grids, which divide their number.
    """
    drawn = {title: image_grid(images.cpu().float() / (levels - 1), columns) for title, images in grids.items()}
    aspect = max(grid.shape[-2] / grid.shape[-1] for grid in drawn.values())
    figure, axes = _figure(rows, len(drawn) // rows, 4.5, 4.5 * aspect + 0.3)
    figure.set_layout_engine("constrained", wspace=0.05)
    for axis, (title, grid) in zip(axes, drawn.items(), strict=True):
        pixels = grid.clamp(0, 1).movedim(0, -1).squeeze(-1)
        axis.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title)
        axis.axis("off")
    _save(figure, path)


def save_curve(
    curve: Mapping[str, Sequence[Sequence[float]]], path: str | Path, anchors: Mapping[str, float] | None = None
) -> None:
    """Save the training curve of a run.

    Args:
        curve: ``train`` and ``valid``, each a list of (step, seconds, bits/dim).
        path: A PNG file.
        anchors: Names and bits/dim of horizontal lines to compare with.
    """
    figure, (axis,) = _figure(1, 1, 5.5, 5.5)
    shown = list((anchors or {}).values())
    for name, style in (("train", {"alpha": 0.6, "lw": 1}), ("valid", {"marker": "o", "ms": 4})):
        steps, values = [point[0] for point in curve[name]], [point[2] for point in curve[name]]
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


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _save(figure: Figure, path: str | Path) -> None:
    with in_one_piece(Path(path)) as partial:
        figure.savefig(partial, dpi=120, format="png")
