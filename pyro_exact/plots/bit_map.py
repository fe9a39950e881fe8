"""A picture of the bits that each pixel of an image takes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pyro_exact.checks import check_tensor
from pyro_exact.files import atomic_write
from pyro_exact.plots.grid import check_drawable, drawable_grid, image_grid

MOST_SHOWN = 16
COLUMNS = 8


def save_bit_map(
    images: Tensor,
    bits: Tensor,
    levels: int,
    path: str | Path,
) -> None:
    """Draw images, and below them the bits that the code of each pixel takes, as a heat map.

    Args:
        images: Images, (N, C, H, W), of which up to 16 are shown, spread evenly.
        bits: Bits of each pixel, (N, H, W).
        levels: Levels of a pixel.
        path: The PNG file to write.
    """
    from matplotlib.figure import Figure

    check_drawable("save_bit_map", "images", images, levels)
    count = min(MOST_SHOWN, len(images))
    index = torch.arange(count) * len(images) // count
    bits = check_tensor("save_bit_map", "bits", bits)[index]
    shown = images[index].float() / (levels - 1)

    picture = drawable_grid(shown, COLUMNS).movedim(0, -1).expand(-1, -1, 3).cpu().numpy()
    heat = image_grid(bits.unsqueeze(1).double(), COLUMNS, fill=torch.nan)[0].cpu().numpy()

    height, width = heat.shape
    size = 8.0, 2 * 8.0 * height / width + 1.2
    figure = Figure(figsize=size, layout="constrained")
    above, below = figure.subplots(2, 1)

    above.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
    above.set_title("images")
    drawn = below.imshow(heat, cmap="magma", vmin=0, interpolation="nearest")
    below.set_title(f"bits of each pixel, {bits.sum((1, 2)).mean():.0f} an image in the mean")
    figure.colorbar(drawn, ax=below, orientation="horizontal", label="bits", shrink=0.6)

    for axes in (above, below):
        axes.set_axis_off()
    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=150, format="png")
