"""Draw docs/images/vary.png: samples of a two-level PixelVAE with new noise for a single level.

python docs/make_vary.py runs/hierarchical_pixel_vae_cifar10_small/best.ckpt
"""

from pathlib import Path

import torch
from jsonargparse import auto_cli

from pyro_exact.models import HierarchicalPixelVAE
from pyro_exact.plots import save_grids
from pyro_exact.train import load_model

ROWS, COLUMNS = 4, 6


def main(checkpoint: Path, out: Path = Path(__file__).parent / "images" / "vary.png") -> None:
    """Draw the picture.

    Args:
        checkpoint: Checkpoint of a two-level PixelVAE.
        out: A PNG file.
    """
    model, run = load_model(checkpoint)
    if not isinstance(model, HierarchicalPixelVAE):
        raise ValueError(
            f"{checkpoint}: expected a HierarchicalPixelVAE; got {run.recipe.model['name']}."
        )
    grids = {}
    for level in ("top", "bottom", "pixels"):
        torch.manual_seed(0)
        rows = [model.eval().sample(COLUMNS, vary=level) for _ in range(ROWS)]
        grids[f"varied: {level}"] = torch.cat(rows)
    save_grids(grids, run.image_levels, out, COLUMNS)


if __name__ == "__main__":
    auto_cli(main, as_positional=True)
