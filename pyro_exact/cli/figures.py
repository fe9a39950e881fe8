"""The commands that use noise or latents of images: `interpolate` and `reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.cli.data_args import CheckpointArgs, SplitArgs
from pyro_exact.cli.loading import (
    check_picture,
    data_for,
    load_checkpoint,
    picture_shape,
    random_images,
)
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import RunRecord


def interpolate(
    source: SplitArgs,
    out: Path = Path("interpolation.png"),
    n: int | None = None,
    steps: int = 8,
) -> None:
    """Interpolate between real images on a line in the noise of a flow, or the latent of a VAE.

    Args:
        source: The model, the images, and where to compute.
        out: The PNG file to write, with a row for each pair of images.
        n: How many pairs of images to use, drawn at random; by default 8, or as many as there are.
        steps: Images in each row, including the two real images at the ends.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_size("interpolate", "--steps", steps, 2, LARGEST_COUNT)
    check_picture(out)
    model, run = _load(source)
    images = random_images(source, data_for(source, run), n, default=8, each=2)
    shape = picture_shape(run)
    check_grid(len(images) // 2 * steps, shape, steps)

    z = model.encode(images.to(next(model.parameters()).device))
    weights = torch.linspace(0, 1, steps, device=z.device).view(-1, *[1] * (z.dim() - 1))
    rows = []
    for first, last in zip(*z.chunk(2), strict=True):
        rows.append(model.decode(torch.lerp(first, last, weights)))

    drawn = torch.cat(rows).view(-1, *shape)
    save_grids({"real, between, real": drawn}, run.image_levels, out, columns=steps)
    tell(f"Wrote {out}.")


def reconstruct(
    source: SplitArgs, out: Path = Path("reconstruction.png"), n: int | None = None
) -> None:
    """Send real images to the noise of a flow, or the latent of a VAE, and back; print the error.

    Args:
        source: The model, the images, and where to compute.
        out: The PNG file to write: the images, their reconstructions, and the enlarged error.
        n: How many images to use, drawn at random; by default 64, or as many as there are.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_picture(out)
    model, run = _load(source)
    images = random_images(source, data_for(source, run), n, default=64)
    shape = picture_shape(run)
    check_grid(len(images), shape)

    images = images.to(next(model.parameters()).device)
    with torch.no_grad():
        back, error = model.reconstruct_with_error(images)

    largest, changed = error.max(), int((back != images).sum())
    tell(f"largest error {largest:.2g} of a grey level, mean {error.mean():.2g}")
    tell(f"{changed} of {images.numel()} elements came back as another level")
    grids = {
        "images": images,
        "to noise and back": back,
        f"error, white is {largest:.2g} of a level": (
            (run.image_levels - 1) * (error / largest.clamp(min=1e-30))
        ),
    }
    pictures = {title: x.view(-1, *shape) for title, x in grids.items()}
    save_grids(pictures, run.image_levels, out)
    tell(f"Wrote {out}.")


def _load(args: CheckpointArgs) -> tuple[GenerativeModel, RunRecord]:
    """Load a model, whose noise or latent must not depend on a class or a context."""
    model, run = load_checkpoint(args)
    if model.classes is not None or model.context_dim is not None:
        given = f"{model.classes} classes" if model.classes else "a context"
        raise ValueError(
            f"{args.checkpoint} expects a model whose noise has no classes; got one of {given}. "
            f"Choose another checkpoint, or draw from this one with `pyro-exact sample`."
        )
    return model, run
